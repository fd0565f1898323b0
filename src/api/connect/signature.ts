import { createPrivateKey, createPublicKey, hash, type KeyObject, sign } from 'node:crypto';
import type { Vault } from '../../store/vault/vault.ts';

/**
 * Signed results of connect sessions: compact JWS (RFC 7515) with Ed25519 (RFC 8037). The browser that
 * carries a result has all secrets of its session, so the installation's key signs. Anybody can verify it.
 */

/** An Ed25519 key in PKCS #8 (RFC 8410 §7), without its 32 bytes. */
const pkcs8 = Buffer.from('302e020100300506032b657004220420', 'hex');

/** Returns the key of an installation. */
function signingKey(vault: Pick<Vault, 'mac'>): KeyObject {
  const seed = Buffer.from(vault.mac('connect-signature', 'Ed25519'), 'hex');
  return createPrivateKey({ key: Buffer.concat([pkcs8, seed]), format: 'der', type: 'pkcs8' });
}

/** Returns the public key as a JWK (RFC 7517). */
export function publicJwk(vault: Pick<Vault, 'mac'>) {
  const { kty, crv, x = '' } = createPublicKey(signingKey(vault)).export({ format: 'jwk' });
  return { kty, crv, x, kid: hash('sha256', x).slice(0, 16), use: 'sig', alg: 'EdDSA' };
}

/** Signs the claims of a result. */
export function signResult(vault: Pick<Vault, 'mac'>, claims: Readonly<Record<string, unknown>>): string {
  const header = { alg: 'EdDSA', typ: 'sidekey-connect+jwt', kid: publicJwk(vault).kid };
  const input = [header, claims]
    .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
    .join('.');
  return `${input}.${sign(null, Buffer.from(input), signingKey(vault)).toString('base64url')}`;
}
