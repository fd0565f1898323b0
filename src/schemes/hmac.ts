import { createHash, createHmac, randomBytes } from 'node:crypto';
import type { Credential } from '../grants/credential.ts';
import type { HmacPlacement } from '../grants/provider.ts';
import { SidekeyError } from '../lib/errors.ts';
import { type Authority, authorityText } from '../policy/authority.ts';
import { fieldNamed, fillTemplate, namesIn, namesOf, type Template } from '../policy/template.ts';
import { fieldNameAsRead } from '../policy/text.ts';
import { readTemplate } from './header.ts';
import { forgivingName, parameter } from './parameters.ts';
import { queryOf } from './query.ts';
import {
  type CarriedRequest,
  type Carrier,
  conceal,
  factsOf,
  type MessageFacts,
  type Part,
  refused,
} from './scheme.ts';
import { singleValue } from './single-value.ts';

/**
 * A secret that signs each request, by the provider's template: it is never sent.
 *
 * @throws SidekeyError `policy_violation`: the credential is none that signs so
 */
export function signedByTemplate(plan: HmacPlacement, credential: Credential): Carrier {
  const secret = signingSecret(credential, plan);
  if (secret.key === null && namesOf(plan).includes('key')) {
    throw refused(
      'The provider of this grant sends {key}, and its credential is a secret alone.',
      'add the grant again with --replace: {"type":"basic","username":"KEY","password":"SECRET"}',
    );
  }
  const [headers, query] = [plan.headers.map(read), plan.query.map(read)];
  const signing = { plan, secret, sign: readTemplate(plan.sign), headers, query };
  const replaces = headers.map(({ name }) => name.toLowerCase());
  const gone = new Set(['authorization', ...replaces].map(fieldNameAsRead));
  return { fields: [], replaces, into: (request) => sign(request, gone, signing) };
}

interface Signing {
  readonly plan: HmacPlacement;
  readonly secret: SigningSecret;
  readonly sign: Template;
  readonly headers: readonly Named[];
  readonly query: readonly Named[];
}

/** A field or a parameter that is added. */
interface Named {
  readonly name: string;
  readonly template: Template;
  /** Whether the signature is in it: then it is not in what is signed. */
  readonly hasSignature: boolean;
}

function read([name, written]: readonly [string, string]): Named {
  const template = readTemplate(written);
  return { name, template, hasSignature: namesIn(template).includes('signature') };
}

function sign(request: CarriedRequest, gone: ReadonlySet<string>, signing: Signing): Part {
  const { plan, secret, headers, query } = signing;
  const kept = request.fields.filter(
    (_, index) => !gone.has(fieldNameAsRead(request.fields[index - (index % 2)]!)),
  );
  const values = signedValues(plan, secret.key, request.authority, factsOf(request));
  const plain = filled(headers, false, values.sent);
  const path = withParameters(withoutParameters(request.path, query), filled(query, false, values.sent));
  const bytesOf = values.of({ path, fields: [...kept, ...plain.flat()] });
  const hmac = createHmac(plan.algorithm, secret.secret);
  for (const part of signing.sign) hmac.update('text' in part ? part.text : bytesOf(part.name));
  const signature = hmac.digest(plan.encoding);

  const valueOf = (name: string) => (name === 'signature' ? signature : values.sent(name));
  const inQuery = filled(query, true, valueOf);
  return {
    path: withParameters(path, inQuery),
    added: [...plain, ...filled(headers, true, valueOf)].flat(),
    // A redirect repeats the query: whoever is sent there would have a request that is signed.
    ...(inQuery.length === 0 ? {} : { conceal: (answered) => conceal(answered, { texts: [signature] }) }),
  };
}

type Filled = readonly (readonly [name: string, value: string])[];

function filled(all: readonly Named[], withSignature: boolean, valueOf: (name: string) => string): Filled {
  return all
    .filter(({ hasSignature }) => hasSignature === withSignature)
    .map(({ name, template }) => [name, fillTemplate(template, valueOf)]);
}

/** What the client wrote under a name that is added is not what is signed. */
function withoutParameters(path: string, added: readonly Named[]): string {
  if (added.length === 0) return path;
  const names = new Set(added.map(({ name }) => forgivingName(name)));
  const kept = queryOf(path, names).filter(({ name }) => !names.has(name));
  const [bare = ''] = path.split('?', 1);
  return kept.length === 0 ? bare : `${bare}?${kept.map(({ written }) => written).join('&')}`;
}

function withParameters(path: string, added: Filled): string {
  if (added.length === 0) return path;
  const written = added.map(([name, value]) => parameter(name, value)).join('&');
  return `${path}${path.includes('?') ? '&' : '?'}${written}`;
}

/** What the names of a template stand for, in one request: the same time and the same nonce wherever they stand. */
interface SignedValues {
  /** A value that is sent; `{signature}` is none of them. */
  readonly sent: (name: string) => string;
  /** The bytes that are signed for a name, of the request as it is sent. */
  readonly of: (sent: Sent) => (name: string) => Buffer;
}

/** A request as it is sent, without its signature. */
interface Sent {
  readonly path: string;
  readonly fields: readonly string[];
}

function signedValues(
  { timestamp: form }: HmacPlacement,
  key: string | null,
  authority: Authority,
  { method, body, hasBody, now }: MessageFacts,
): SignedValues {
  let nonce: string | null = null;
  const bodyBytes = () => {
    if (hasBody && body === null) throw new SidekeyError('internal', 'The body was not read.');
    return body ?? Buffer.alloc(0);
  };
  // A template may name one twice, and bodies are large.
  const hashes = new Map<string, Buffer>();
  const hash = (algorithm: string, encoding: 'hex' | 'base64') => {
    let digest = hashes.get(algorithm);
    if (digest === undefined)
      hashes.set(algorithm, (digest = createHash(algorithm).update(bodyBytes()).digest()));
    return digest.toString(encoding);
  };
  const sent = (name: string): string => {
    switch (name) {
      case 'timestamp':
        return timestamps[form](now);
      case 'nonce':
        return (nonce ??= randomBytes(16).toString('hex'));
      case 'key':
        return key ?? unknown(name);
      case 'body_sha256':
        return hash('sha256', 'hex');
      case 'body_sha256_base64':
        return hash('sha256', 'base64');
      case 'body_md5_base64':
        return hash('md5', 'base64');
      default:
        return unknown(name);
    }
  };
  const of = ({ path, fields }: Sent) => {
    const [bare = '', ...rest] = path.split('?');
    return (name: string): Buffer => {
      switch (name) {
        case 'method':
          return Buffer.from(method);
        case 'host':
          return Buffer.from(authorityText(authority));
        case 'path':
          return asCame(bare);
        case 'query':
          return asCame(rest.join('?'));
        case 'target':
          return asCame(path);
        case 'body':
          return bodyBytes();
        case 'content_type':
          return asCame(oneValue(fields, 'content-type'));
        default: {
          const field = fieldNamed(name);
          return field === null ? Buffer.from(sent(name)) : asCame(oneValue(fields, field));
        }
      }
    };
  };
  return { sent, of };
}

const timestamps: Readonly<Record<HmacPlacement['timestamp'], (now: number) => string>> = {
  seconds: (now) => String(Math.floor(now / 1000)),
  milliseconds: String,
  iso8601: (now) => new Date(now).toISOString(),
  // RFC 9110 §5.6.7.
  http_date: (now) => new Date(now).toUTCString(),
};

/** A text that came over the wire: a character a byte. */
function asCame(text: string): Buffer {
  return Buffer.from(text, 'latin1');
}

/** Nothing where there is no such field. */
function oneValue(fields: readonly string[], name: string): string {
  const values = fields.filter((_, index) => index % 2 === 1 && fields[index - 1]!.toLowerCase() === name);
  if (values.length > 1) {
    throw refused(
      `The request has ${name} more than once, and is signed by its one value.`,
      'send the field once',
    );
  }
  return values[0] ?? '';
}

function unknown(name: string): never {
  throw new SidekeyError('internal', `A template of the provider names ${name}, which is not known there.`);
}

/** What a signature is made with. */
interface SigningSecret {
  readonly secret: Buffer;
  /** What says whose it is, and is no secret; null: the credential has none. */
  readonly key: string | null;
}

/**
 * The user name and the password of a credential that has them; else the one value, which is the secret.
 *
 * @throws SidekeyError `policy_violation`: it is not written as the plan says
 */
function signingSecret(credential: Credential, { secret: form }: HmacPlacement): SigningSecret {
  const isPair = credential.type === 'basic';
  const written = isPair ? credential.password : singleValue(credential);
  const secret = decoded(written, form);
  if (secret === null || secret.length === 0) {
    throw refused(
      `The secret of this grant is not written in ${form}, as its provider says.`,
      'add the grant again with --replace, or set secret in the hmac setting of the provider',
    );
  }
  return { secret, key: isPair ? credential.username : null };
}

/** Node leaves out what it cannot read. */
function decoded(written: string, form: HmacPlacement['secret']): Buffer | null {
  switch (form) {
    case 'utf8':
      return Buffer.from(written, 'utf8');
    case 'hex':
      return /^(?:[0-9A-Fa-f]{2})+$/.test(written) ? Buffer.from(written, 'hex') : null;
    case 'base64':
      return /^[A-Za-z0-9+/_-]+={0,2}$/.test(written) ? Buffer.from(written, 'base64') : null;
  }
}
