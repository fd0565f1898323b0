import { createHash, randomBytes } from 'node:crypto';
import type { HmacPlan } from '../../grants/provider.ts';
import { SidekeyError } from '../../errors.ts';
import { authorityText, type Authority } from '../../policy/authority.ts';
import type { MessageFacts } from '../message-facts.ts';
import { refused } from '../refused.ts';
import { fieldNamed } from '../../policy/hmac-names.ts';

/** What the names of a template stand for, in one request: the same time and the same nonce wherever they stand. */
export interface SignedValues {
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

export function signedValues(
  { timestamp: form }: HmacPlan,
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

const timestamps: Readonly<Record<HmacPlan['timestamp'], (now: number) => string>> = {
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
