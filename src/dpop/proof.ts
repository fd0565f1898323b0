import { hash, sign } from 'node:crypto';
import type { ProofKey } from './key.ts';

/** What one proof proves (RFC 9449 §4.2). */
export interface ProofFacts {
  /** `jti`: never the same twice. */
  readonly id: string;
  /** `htm`, as it is sent. */
  readonly method: string;
  /** `htu`, see `targetUri`. */
  readonly uri: string;
  /** Milliseconds since the epoch. */
  readonly now: number;
  /** What the proof goes with; null: at a token endpoint it goes with none. */
  readonly accessToken: string | null;
  /** What the server wants to see; null: it gave none. */
  readonly nonce: string | null;
}

/** A proof of the key for one request, as the field `DPoP` carries it. */
export function signProof(key: ProofKey, facts: ProofFacts): string {
  const input = signingInput(key.header, facts);
  const signature = sign(key.algorithm === 'ES256' ? 'sha256' : null, Buffer.from(input), {
    key: key.privateKey,
    // RFC 7518 §3.4: both numbers, one after the other.
    dsaEncoding: 'ieee-p1363',
  });
  return `${input}.${signature.toString('base64url')}`;
}

/** What is signed (RFC 7515 §5.1). */
export function signingInput(
  header: string,
  { id, method, uri, now, accessToken, nonce }: ProofFacts,
): string {
  const claims = {
    jti: id,
    htm: method,
    htu: uri,
    iat: Math.floor(now / 1000),
    ...(accessToken === null ? {} : { ath: accessTokenHash(accessToken) }),
    ...(nonce === null ? {} : { nonce }),
  };
  return `${header}.${Buffer.from(JSON.stringify(claims)).toString('base64url')}`;
}

/** `ath` (RFC 9449 §4.2). Tokens are ASCII. */
export function accessTokenHash(accessToken: string): string {
  return hash('sha256', Buffer.from(accessToken, 'latin1'), 'base64url');
}
