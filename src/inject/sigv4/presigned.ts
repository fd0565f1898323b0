/** URLs that carry their signature in the query. https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html */
import type { AwsKeys } from '../../grants/aws-keys.ts';
import { notSigned, readSignature, type ClientSignature } from './authorization.ts';
import { refused } from '../refused.ts';
import { algorithm, parseTimestamp, scopeText } from '../../sigv4/scope.ts';
import type { Signer } from '../../sigv4/signature.ts';
import { uriDecode, uriEncode } from '../../sigv4/uri-encoding.ts';

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
