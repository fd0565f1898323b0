import { refused } from '../refused.ts';
import { algorithm, type Scope } from '../../sigv4/scope.ts';

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
    if (key === undefined || text === undefined || parts.has(key)) throw unreadable();
    parts.set(key, text);
  }
  return readSignature(parts.get('Credential'), parts.get('SignedHeaders'));
}

/** The two parts, as they stand in the field or in the query. @throws SidekeyError as `parseAuthorization` */
export function readSignature(
  credential: string | undefined,
  signedHeaders: string | undefined,
): ClientSignature {
  const [id, date, region, service, end, ...more] = credential?.split('/') ?? [];
  const isScope = end === 'aws4_request' && more.length === 0 && /^\d{8}$/.test(date ?? '');
  if (!isScope || id === '' || region === undefined || service === undefined) throw unreadable();
  if (!name.test(region) || !name.test(service) || signedHeaders === undefined) throw unreadable();
  return { scope: { region, service }, signedHeaders: signedHeaders.toLowerCase().split(';') };
}

/** Says of a scheme why it is not signed anew. */
export function notSigned(scheme: string): Error {
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

function unreadable(): Error {
  return refused(
    `The client's ${algorithm} signature cannot be read.`,
    'Credential=ID/DATE/REGION/SERVICE/aws4_request, SignedHeaders=…, Signature=…',
  );
}
