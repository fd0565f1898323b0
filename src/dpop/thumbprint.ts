import { hash } from 'node:crypto';

/** A public key as proofs carry it (RFC 7517 §4, RFC 7518 §6, RFC 8037 §2). */
export type PublicJwk = Readonly<Record<string, string>>;

/** What of each kind of key is hashed, in the order of RFC 7638 §3.3. */
const required: Readonly<Record<string, readonly string[]>> = {
  EC: ['crv', 'kty', 'x', 'y'],
  OKP: ['crv', 'kty', 'x'],
  RSA: ['e', 'kty', 'n'],
};

/** The SHA-256 thumbprint of a public key (RFC 7638 §3). It is no secret. */
export function thumbprint(jwk: PublicJwk): string {
  const names = required[jwk['kty'] ?? ''] ?? [];
  const text = JSON.stringify(Object.fromEntries(names.map((name) => [name, jwk[name]])));
  return hash('sha256', text, 'base64url');
}
