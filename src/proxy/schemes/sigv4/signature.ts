import { createHmac, hash } from 'node:crypto';
import type { AwsKeys } from '../../../domain/credential.ts';
import type { RequestHead } from '../scheme.ts';

/** Signatures of Signature Version 4: keys, canonical requests and encoding. */

/** Signs texts of one moment, in one scope. */
export type Signer = ReturnType<typeof createSigner>;

/** @param now milliseconds since the epoch */
export function createSigner(keys: AwsKeys, place: Pick<Scope, 'region' | 'service'>, now: number) {
  const timestamp = timestampOf(now);
  const scope = { date: timestamp.slice(0, 8), region: place.region, service: place.service };
  const key = signingKey(keys, scope);
  const named = scopeText(scope);
  return {
    scope,
    /** `YYYYMMDDTHHMMSSZ`. */
    timestamp,
    /** Returns 64 hex digits. Signs the kind, the timestamp, the scope and the rest, one per line. */
    sign: (kind: string, ...rest: readonly string[]) =>
      createHmac('sha256', key)
        .update([kind, timestamp, named, ...rest].join('\n'))
        .digest('hex'),
  };
}

/** Returns the SHA-256 in hex. Each character of a text is one byte. */
export function sha256(bytes: Buffer | string): string {
  return hash('sha256', typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes, 'hex');
}

/** SHA-256 of an empty body. */
export const emptyHash = sha256('');

/** Parts of a request that are signed. */
interface SignedParts extends Pick<RequestHead, 'method' | 'path' | 'fields'> {
  /** Names in lower case. Names that the request does not have are ignored. */
  readonly signed: ReadonlySet<string>;
  /** SHA-256 of the body, or a word for it. */
  readonly payload: string;
  readonly service: string;
}

/** The canonical request, and the names of its fields. */
interface CanonicalRequest {
  /** Each character is one byte. */
  readonly text: string;
  readonly signedHeaders: string;
}

/** Step 1 of https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html */
export function canonicalRequest(parts: SignedParts): CanonicalRequest {
  const { method, path, service, payload } = parts;
  const mark = path.indexOf('?');
  const values = signedValues(parts);
  const names = [...values.keys()].toSorted();
  const signedHeaders = names.join(';');
  const lines = names.map((name) => `${name}:${values.get(name)!.join(',')}\n`).join('');
  const head = canonicalPath(mark < 0 ? path : path.slice(0, mark), service);
  const query = mark < 0 ? '' : canonicalQuery(path.slice(mark + 1));
  return { text: `${method}\n${head}\n${query}\n${lines}\n${signedHeaders}\n${payload}`, signedHeaders };
}

function signedValues({ fields, signed }: SignedParts): Map<string, string[]> {
  const values = new Map<string, string[]>();
  for (let i = 0; i + 1 < fields.length; i += 2) {
    const name = fields[i]!.toLowerCase();
    if (!signed.has(name)) continue;
    const value = fields[i + 1]!.replace(/^[ \t]+|[ \t]+$/g, '').replace(/[ \t]+/g, ' ');
    const known = values.get(name);
    if (known === undefined) values.set(name, [value]);
    else known.push(value);
  }
  return values;
}

/**
 * Writes the canonical path. S3 signs the object name, encoded once. Other services sign the path as sent,
 * without dot segments and doubled slashes, and encoded once more.
 *
 * @param path without the query
 * @param service as in the credential scope
 */
function canonicalPath(path: string, service: string): string {
  if (namesObjects.has(service)) return uriReencode(path, true);
  return uriEncode(withoutDots(path), true);
}

/** Services whose paths are names of objects: `/a/../b` and `/b` are two. */
const namesObjects: ReadonlySet<string> = new Set(['s3', 's3-outposts', 's3-object-lambda']);

/** Removes dot segments (RFC 3986 §5.2.4) and doubled slashes. */
function withoutDots(path: string): string {
  if (!path.includes('//') && !path.includes('/.')) return path;
  const kept: string[] = [];
  for (const segment of path.split('/')) {
    if (segment === '' || segment === '.') continue;
    if (segment === '..') kept.pop();
    else kept.push(segment);
  }
  return `/${kept.join('/')}${path.endsWith('/') && kept.length > 0 ? '/' : ''}`;
}

/** One parameter, percent-encoded. */
type Parameter = readonly [name: string, value: string];

/** Writes the canonical query: percent-encoded, and sorted by name and then by value. */
function canonicalQuery(query: string): string {
  if (query === '') return '';
  const parameters: Parameter[] = [];
  for (const written of query.split('&')) {
    if (written === '') continue;
    const equals = written.indexOf('=');
    const name = equals < 0 ? written : written.slice(0, equals);
    const value = equals < 0 ? '' : written.slice(equals + 1);
    parameters.push([uriReencode(name), uriReencode(value)]);
  }
  return parameters
    .toSorted(inOrder)
    .map(([name, value]) => `${name}=${value}`)
    .join('&');
}

/** Compares by bytes: both are ASCII. */
function inOrder(a: Parameter, b: Parameter): number {
  if (a[0] !== b[0]) return a[0] < b[0] ? -1 : 1;
  return a[1] === b[1] ? 0 : a[1] < b[1] ? -1 : 1;
}

/** Maximum number of cached signing keys per credential. */
const maxSigningKeys = 64;

/** Signing keys by scope; collected with the keys that they are derived from. */
const signingKeys = new WeakMap<AwsKeys, Map<string, Buffer>>();

/** Derives the key for one day, region and service. It is a secret, and never stored. */
function signingKey(keys: AwsKeys, scope: Scope): Buffer {
  let ofKeys = signingKeys.get(keys);
  if (ofKeys === undefined) signingKeys.set(keys, (ofKeys = new Map()));
  const name = scopeText(scope);
  let key = ofKeys.get(name);
  if (key === undefined) {
    const { date, region, service } = scope;
    key = [date, region, service, 'aws4_request'].reduce(
      (by: Buffer, text) => createHmac('sha256', by).update(text).digest(),
      Buffer.from(`AWS4${keys.secretAccessKey}`),
    );
    // Removes the oldest: yesterday's keys are not used again.
    if (ofKeys.size >= maxSigningKeys) ofKeys.delete(ofKeys.keys().next().value!);
    ofKeys.set(name, key);
  }
  return key;
}

/** Scope of a signature: one day, one region, one service. */
export interface Scope {
  /** `YYYYMMDD`, UTC. */
  readonly date: string;
  readonly region: string;
  readonly service: string;
}

export const algorithm = 'AWS4-HMAC-SHA256';

/** Writes a scope as in the credential and in the string to sign. */
export function scopeText({ date, region, service }: Scope): string {
  return `${date}/${region}/${service}/aws4_request`;
}

/** `YYYYMMDDTHHMMSSZ`. `now` in milliseconds since the epoch. */
function timestampOf(now: number): string {
  return `${new Date(now).toISOString().slice(0, 19).replace(/[-:]/g, '')}Z`;
}

/** Returns milliseconds since the epoch; null: the text is no timestamp. */
export function parseTimestamp(text: string): number | null {
  const iso = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.test(text)
    ? text.replace(/^(....)(..)(..)T(..)(..)(..)Z$/, '$1-$2-$3T$4:$5:$6Z')
    : '';
  const at = Date.parse(iso);
  return Number.isNaN(at) ? null : at;
}

const unreserved = /^[A-Za-z0-9\-._~]*$/;

const encodedBytes: readonly string[] = Array.from({ length: 256 }, (_, byte) => {
  const letter = String.fromCharCode(byte);
  return /[A-Za-z0-9\-._~]/.test(letter) ? letter : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
});

const slash = 0x2f;

/**
 * Percent-encodes all but unreserved bytes (RFC 3986 §2.3), in upper case. Texts: one byte per character.
 *
 * @param keepsSlash `/` is not encoded
 */
export function uriEncode(bytes: Buffer | string, keepsSlash = false): string {
  if (typeof bytes === 'string') {
    if (unreserved.test(bytes)) return bytes;
    bytes = Buffer.from(bytes, 'latin1');
  }
  let text = '';
  for (const byte of bytes) text += keepsSlash && byte === slash ? '/' : encodedBytes[byte]!;
  return text;
}

/** Decodes percent-encoding. Keeps an invalid `%`; reads `+` as a space, like AWS in queries and S3 paths. */
export function uriDecode(text: string): Buffer {
  const plain = text
    .replaceAll('+', ' ')
    .replace(/%([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  return Buffer.from(plain, 'latin1');
}

/** Percent-encodes a text that may be encoded in another way. */
function uriReencode(text: string, keepsSlash = false): string {
  return unreserved.test(text) ? text : uriEncode(uriDecode(text), keepsSlash);
}
