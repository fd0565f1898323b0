import { createHash, createHmac, randomBytes } from 'node:crypto';
import { z } from 'zod';
import type { Credential } from '../../domain/credential.ts';
import { valuesOf, withoutFields } from '../http/fields.ts';
import { SidekeyError } from '../../lib/errors.ts';
import { type Authority, authorityText } from '../policy/authority.ts';
import { FieldNames } from '../policy/text.ts';
import { singleValue } from './credential.ts';
import { readTemplate } from './header.ts';
import {
  fieldName,
  fieldNamed,
  fieldValueProblem,
  fillTemplate,
  forgivingName,
  namesIn,
  namesInTemplates,
  namesOf,
  parameter,
  parameterName,
  sentNames,
  signedNames,
  signsBody,
  type Template,
  templates,
  type Templates,
  templateText,
} from './parameters.ts';
import { queryOf } from './query.ts';
import {
  type AuthScheme,
  conceal,
  factsOf,
  type MessageFacts,
  refused,
  type RequestChanges,
  type UnauthenticatedRequest,
} from './scheme.ts';

/** Signatures of requests with a shared secret (RFC 2104), and their places. */
export type HmacPlacement = {
  readonly kind: 'hmac';
  readonly algorithm: 'sha256' | 'sha1' | 'sha512';
  /** Template of the text that is signed. */
  readonly sign: string;
  /** Encoding of the stored secret. */
  readonly secret: 'utf8' | 'hex' | 'base64';
  /** Encoding of the signature. */
  readonly encoding: 'hex' | 'base64' | 'base64url';
  /** Form of `{timestamp}`. */
  readonly timestamp: 'seconds' | 'milliseconds' | 'iso8601' | 'http_date';
  readonly headers: Templates;
  /** Parameters, behind those of the request. */
  readonly query: Templates;
};

const isSent = (name: string): boolean => name === 'signature' || sentNames.includes(name);
const isSigned = (name: string): boolean => signedNames.includes(name) || fieldNamed(name) !== null;

const sent = `{signature}, {${sentNames.join('}, {')}}`;

const inField = templateText(`Its value: text with ${sent}.`, isSent, fieldValueProblem);
const inParameter = templateText(`Its value: text with ${sent}.`, isSent, () => null);
const sign = templateText(
  `What is signed: text with {${signedNames.join('}, {')}} and {header:NAME}; a line break is one.`,
  isSigned,
  // oxlint-disable-next-line no-control-regex -- the pattern searches for these
  (sample) => (/[\0-\x08\x0b-\x1f\x7f]/.test(sample) ? 'has a control character' : null),
);

/** Reports whether the signed text contains a field whose own template contains the signature. */
function signsSignature({ sign: written, headers }: Pick<HmacPlacement, 'sign' | 'headers'>): boolean {
  const behind = headers
    .filter(([, template]) => template.includes('{signature}'))
    .map(([name]) => name.toLowerCase());
  return namesInTemplates([['', written]]).some((name) => behind.includes(fieldNamed(name) ?? ''));
}

/** A secret that signs each request by the provider's templates, and is never sent. */
export const hmac: AuthScheme<HmacPlacement, { readonly hmac: HmacPlacement }> = {
  kind: 'hmac',
  syntax: '{ hmac: … }',
  schemas: [
    z.strictObject({
      hmac: z
        .strictObject({
          algorithm: z.enum(['sha256', 'sha1', 'sha512']).meta({ description: 'The hash of the HMAC.' }),
          sign,
          secret: z
            .enum(['utf8', 'hex', 'base64'])
            .prefault('utf8')
            .meta({ description: 'How the stored secret is written. utf8: its characters are the key.' }),
          encoding: z
            .enum(['hex', 'base64', 'base64url'])
            .prefault('hex')
            .meta({ description: 'How the signature is written.' }),
          timestamp: z
            .enum(['seconds', 'milliseconds', 'iso8601', 'http_date'])
            .prefault('seconds')
            .meta({ description: 'How {timestamp} is written; the first two count from 1970.' }),
          headers: templates(
            fieldName('A field that is added.'),
            inField,
            'Fields that are added.',
          ).optional(),
          query: templates(
            parameterName('A parameter that is added.'),
            inParameter,
            'Parameters that are added behind those of the request; those without {signature} are signed with the query.',
          ).optional(),
        })
        .transform((written): HmacPlacement => {
          const { headers = [], query = [] } = written;
          return { kind: 'hmac', ...written, headers, query };
        })
        .superRefine((placement, context) => {
          const added = [...placement.headers, ...placement.query];
          if (!namesInTemplates(added).includes('signature')) {
            context.addIssue({
              code: 'custom',
              message: 'sends {signature} nowhere: name it in headers or query',
            });
          }
          if (signsSignature(placement)) {
            context.addIssue({
              code: 'custom',
              path: ['sign'],
              message: 'names a field that has {signature} in it',
            });
          }
        })
        .meta({ description: 'Each request is signed with a secret that is never sent (HMAC, RFC 2104).' }),
    }),
  ],
  parse: (written) => written.hmac,
  format({ kind, headers, query, ...written }) {
    return {
      [kind]: {
        ...written,
        ...(headers.length === 0 ? {} : { headers: Object.fromEntries(headers) }),
        ...(query.length === 0 ? {} : { query: Object.fromEntries(query) }),
      },
    };
  },
  describe({ algorithm, headers, query }) {
    const places = [...headers.map(([name]) => name), ...query.map(([name]) => `?${name}=…`)];
    return `the request is signed (HMAC ${algorithm}): ${places.join(', ')}`;
  },
  accepts: (placement) => (namesOf(placement).includes('key') ? 'pair' : 'secret'),
  isNeverSent: true,
  needs: ({ hasBody }, placement) =>
    hasBody && signsBody(placement)
      ? { of: 'whole', limit: 'signed_body_bytes', what: 'A request body that is signed' }
      : null,
  prepare({ credential }, placement) {
    const secret = signingSecret(credential, placement);
    if (secret.key === null && namesOf(placement).includes('key')) {
      throw refused(
        'The provider of this grant sends {key}, and its credential is a secret alone.',
        'add the grant again with --replace: {"type":"basic","username":"KEY","password":"SECRET"}',
      );
    }
    const [headers, query] = [placement.headers.map(read), placement.query.map(read)];
    const signing = { placement, secret, sign: readTemplate(placement.sign), headers, query };
    const replaces = headers.map(({ name }) => name.toLowerCase());
    const removed = new FieldNames(['authorization', ...replaces]);
    return { fields: [], replaces, apply: (request) => signRequest(request, removed, signing) };
  },
};

interface Signing {
  readonly placement: HmacPlacement;
  readonly secret: SigningSecret;
  readonly sign: Template;
  readonly headers: readonly Named[];
  readonly query: readonly Named[];
}

/** A field or a parameter that is added. */
interface Named {
  readonly name: string;
  readonly template: Template;
  /** True if the signature is in it: then it is not signed. */
  readonly hasSignature: boolean;
}

function read([name, written]: readonly [string, string]): Named {
  const template = readTemplate(written);
  return { name, template, hasSignature: namesIn(template).includes('signature') };
}

function signRequest(request: UnauthenticatedRequest, removed: FieldNames, signing: Signing): RequestChanges {
  const { placement, secret, headers, query } = signing;
  const kept = withoutFields(request.fields, (name) => removed.has(name));
  const values = signedValues(placement, secret.key, request.authority, factsOf(request));
  const plain = filled(headers, false, values.sent);
  const path = withParameters(withoutParameters(request.path, query), filled(query, false, values.sent));
  const bytesOf = values.of({ path, fields: [...kept, ...plain.flat()] });
  const hmac = createHmac(placement.algorithm, secret.secret);
  for (const part of signing.sign) hmac.update('text' in part ? part.text : bytesOf(part.name));
  const signature = hmac.digest(placement.encoding);

  const valueOf = (name: string) => (name === 'signature' ? signature : values.sent(name));
  const inQuery = filled(query, true, valueOf);
  return {
    path: withParameters(path, inQuery),
    added: [...plain, ...filled(headers, true, valueOf)].flat(),
    // A redirect repeats the query: the recipient would have a signed request.
    ...(inQuery.length === 0 ? {} : { conceal: (answered) => conceal(answered, { texts: [signature] }) }),
  };
}

type Filled = readonly (readonly [name: string, value: string])[];

function filled(all: readonly Named[], withSignature: boolean, valueOf: (name: string) => string): Filled {
  return all
    .filter(({ hasSignature }) => hasSignature === withSignature)
    .map(({ name, template }) => [name, fillTemplate(template, valueOf)]);
}

/** Removes the client's parameters that have the name of an added one. */
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

/** A request as it is sent, without its signature. */
interface Sent {
  readonly path: string;
  readonly fields: readonly string[];
}

/** Returns the values of the names in a template for one request: time and nonce are the same everywhere. */
function signedValues(
  { timestamp: form }: HmacPlacement,
  key: string | null,
  authority: Authority,
  { method, body, hasBody, now }: MessageFacts,
) {
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
  return {
    /** Returns the sent value for a name, except `{signature}`. */
    sent,
    /** The bytes that are signed for a name, of the request as it is sent. */
    of,
  };
}

const timestamps: Readonly<Record<HmacPlacement['timestamp'], (now: number) => string>> = {
  seconds: (now) => String(Math.floor(now / 1000)),
  milliseconds: String,
  iso8601: (now) => new Date(now).toISOString(),
  // RFC 9110 §5.6.7.
  http_date: (now) => new Date(now).toUTCString(),
};

/** Returns the bytes of a text from the wire, which has one byte per character. */
function asCame(text: string): Buffer {
  return Buffer.from(text, 'latin1');
}

/** Returns the only value of a field; empty if there is no such field. */
function oneValue(fields: readonly string[], name: string): string {
  const values = valuesOf(fields, name);
  if (values.length > 1) {
    const sentence = `The request has ${name} more than once, and is signed by its one value.`;
    throw refused(sentence, 'send the field once');
  }
  return values[0] ?? '';
}

function unknown(name: string): never {
  throw new SidekeyError('internal', `A template of the provider names ${name}, which is not known there.`);
}

/** Key of a signature. */
interface SigningSecret {
  readonly secret: Buffer;
  /** Public id of the key; null: the credential has none. */
  readonly key: string | null;
}

/**
 * Returns the user name and the password of a credential that has them; else its one value as the secret.
 *
 * @throws SidekeyError `policy_violation` if the secret is not in the encoding of the placement
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

/** Decodes a secret; null if it is invalid. Node would skip invalid characters. */
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
