import type { AwsKeys } from '../../grants/credential.ts';
import { refused } from '../scheme.ts';
import {
  algorithm,
  parseTimestamp,
  type Scope,
  scopeText,
  type Signer,
  uriDecode,
  uriEncode,
} from './signature.ts';

/** What a client's signature says of itself. The signature is by keys that are worth nothing, and is not looked at. */
export interface ClientSignature {
  readonly scope: Pick<Scope, 'region' | 'service'>;
  /** Names in lower case. */
  readonly signedHeaders: readonly string[];
}

const name = /^[A-Za-z0-9-]{1,64}$/;

/**
 * Takes `AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…, Signature=…` apart.
 *
 * @throws SidekeyError `policy_violation`: it is none, or cannot be read
 */
export function parseAuthorization(value: string): ClientSignature {
  const space = value.indexOf(' ');
  const scheme = space < 0 ? value : value.slice(0, space);
  if (scheme !== algorithm) throw notSigned(scheme);
  const parts = new Map<string, string>();
  for (const part of value.slice(space + 1).split(',')) {
    const [, key, text] = /^\s*(\w+)=(\S+)\s*$/.exec(part) ?? [];
    if (key === undefined || text === undefined || parts.has(key)) throw authorizationUnreadable();
    parts.set(key, text);
  }
  return readSignature(parts.get('Credential'), parts.get('SignedHeaders'));
}

/** The two parts, as they stand in the field or in the query. @throws SidekeyError as `parseAuthorization` */
function readSignature(credential: string | undefined, signedHeaders: string | undefined): ClientSignature {
  const [id, date, region, service, end, ...more] = credential?.split('/') ?? [];
  const isScope = end === 'aws4_request' && more.length === 0 && /^\d{8}$/.test(date ?? '');
  if (!isScope || id === '' || region === undefined || service === undefined) throw authorizationUnreadable();
  if (!name.test(region) || !name.test(service) || signedHeaders === undefined)
    throw authorizationUnreadable();
  return { scope: { region, service }, signedHeaders: signedHeaders.toLowerCase().split(';') };
}

/** Says of a scheme why it is not signed anew. */
function notSigned(scheme: string): Error {
  if (scheme.startsWith('AWS4-ECDSA-')) {
    return refused(
      'The request is signed with Signature Version 4a (AWS4-ECDSA-P256-SHA256), and Sidekey signs with AWS4-HMAC-SHA256 alone.',
      'call one region: multi-Region access points are signed in no other way',
    );
  }
  if (scheme === 'AWS') {
    return refused(
      'The request is signed with Signature Version 2, which Sidekey does not sign.',
      'set the signature version of the client to s3v4 (boto3: Config(signature_version="s3v4"); AWS CLI: aws configure set default.s3.signature_version s3v4)',
    );
  }
  return refused(
    `The request brings another Authorization than ${algorithm}, and the grant has nothing else to put in its place.`,
    'have the client sign with any AWS keys, or send no Authorization',
  );
}

function authorizationUnreadable(): Error {
  return refused(
    `The client's ${algorithm} signature cannot be read.`,
    'Credential=ID/DATE/REGION/SERVICE/aws4_request, SignedHeaders=…, Signature=…',
  );
}

/** URLs that carry their signature in the query. https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html */

/** A signature in the query, and the query without it. */
export interface PresignedQuery extends ClientSignature {
  /** When it ends, in milliseconds since the epoch. */
  readonly expiresAt: number;
  /** The parameters that are not about the signature, as they stand. */
  readonly rest: readonly string[];
}

const own = [
  'X-Amz-Algorithm',
  'X-Amz-Credential',
  'X-Amz-Date',
  'X-Amz-Expires',
  'X-Amz-SignedHeaders',
  'X-Amz-Security-Token',
  'X-Amz-Signature',
] as const;
type Own = (typeof own)[number];

/**
 * Reads a query with a signature; null where it has none.
 *
 * @param path origin-form
 * @throws SidekeyError `policy_violation`: it cannot be read
 */
export function parsePresigned(path: string): PresignedQuery | null {
  const mark = path.indexOf('?');
  if (mark < 0) return null;
  const found = new Map<Own, string>();
  const rest: string[] = [];
  let isVersion2 = false;
  for (const parameter of path.slice(mark + 1).split('&')) {
    const [written = ''] = parameter.split('=', 1);
    const decoded = uriDecode(written).toString('latin1').toLowerCase();
    const name = own.find((each) => each.toLowerCase() === decoded);
    if (decoded === 'awsaccesskeyid') isVersion2 = true;
    if (name === undefined) rest.push(parameter);
    else if (found.has(name)) throw refused(`The query has ${name} more than once.`);
    else found.set(name, uriDecode(parameter.slice(written.length + 1)).toString('latin1'));
  }
  if (isVersion2) throw notSigned('AWS');
  if (!found.has('X-Amz-Signature') && !found.has('X-Amz-Algorithm')) {
    if (found.size > 0) throw unreadable();
    return null;
  }
  const scheme = found.get('X-Amz-Algorithm') ?? '';
  if (scheme !== algorithm) throw notSigned(scheme);
  const signature = readSignature(found.get('X-Amz-Credential'), found.get('X-Amz-SignedHeaders'));
  const from = parseTimestamp(found.get('X-Amz-Date') ?? '');
  const expires = found.get('X-Amz-Expires') ?? '';
  if (from === null || !/^\d{1,6}$/.test(expires)) throw unreadable();
  return { ...signature, expiresAt: from + Number(expires) * 1000, rest };
}

/** Seconds that a URL is good for, once it has left: it is used at once. */
const goodForS = 300;

/**
 * The query with all but the signature itself: what is signed.
 *
 * @param now milliseconds since the epoch
 * @throws SidekeyError `policy_violation`: the client's own has ended
 */
export function unsignedQuery(
  presigned: PresignedQuery,
  keys: AwsKeys,
  { scope, timestamp }: Signer,
  signedHeaders: string,
  now: number,
): string {
  const left = Math.floor((presigned.expiresAt - now) / 1000);
  if (left <= 0) throw refused('The presigned URL has expired.', 'make a new one');
  const parameters: [Own, string][] = [
    ['X-Amz-Algorithm', algorithm],
    ['X-Amz-Credential', `${keys.accessKeyId}/${scopeText(scope)}`],
    ['X-Amz-Date', timestamp],
    ['X-Amz-Expires', String(Math.min(left, goodForS))],
    ['X-Amz-SignedHeaders', signedHeaders],
  ];
  if (keys.sessionToken !== null) parameters.push(['X-Amz-Security-Token', keys.sessionToken]);
  return [...presigned.rest, ...parameters.map(([name, value]) => `${name}=${uriEncode(value)}`)].join('&');
}

function unreadable(): Error {
  return refused(
    'The signature in the query cannot be read.',
    'a presigned URL has X-Amz-Algorithm, X-Amz-Credential, X-Amz-Date, X-Amz-Expires, X-Amz-SignedHeaders and X-Amz-Signature',
  );
}
