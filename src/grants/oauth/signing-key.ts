/** Private keys that sign JWTs (RFC 7518 §3.1). Messages reveal only the kind of a key. */
import { createPrivateKey, type KeyObject } from 'node:crypto';
import type { JWTPayload } from 'jose';
import { inputInvalid } from '../../lib/errors.ts';
import type { SigningKey } from '../../domain/credential.ts';

interface SigningKeyOptions {
  /** Id of the key. Undefined: the `kid` of a JWK, otherwise no id. */
  readonly keyId?: string | undefined;
  /** Undefined: the `alg` of a JWK, or the default of the kind of key. */
  readonly algorithm?: string | undefined;
}

const rsa = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'];
/** Algorithms by kind of key, the default first. */
const algorithms: Readonly<Record<string, readonly string[]>> = {
  rsa,
  'rsa-pss': rsa.filter((name) => name.startsWith('PS')),
  'ec prime256v1': ['ES256'],
  'ec secp384r1': ['ES384'],
  'ec secp521r1': ['ES512'],
  ed25519: ['EdDSA', 'Ed25519'],
};

/**
 * Parses a private key: PEM (PKCS#8, PKCS#1 as issued by GitHub, SEC 1) or a JWK.
 * @throws SidekeyError `input_invalid`: not a private key, encrypted, or unable to sign with the algorithm
 */
export function readSigningKey(text: string, options: SigningKeyOptions = {}): SigningKey {
  const privateKey = text.trim();
  const jwk = jwkOf(privateKey);
  const key = open(privateKey);
  const supported = algorithms[kindOf(key)] ?? [];
  const algorithm = options.algorithm ?? textOf(jwk?.['alg']) ?? supported[0];
  if (algorithm === undefined || !supported.includes(algorithm)) {
    const shown = algorithm === undefined || !/^[A-Za-z0-9]{1,16}$/.test(algorithm) ? 'JWTs' : algorithm;
    throw inputInvalid(
      `The private key (${kindOf(key)}) does not sign ${shown === 'JWTs' ? shown : `with ${shown}`}.`,
      supported.length === 0
        ? 'use an RSA key, an EC key on P-256, P-384 or P-521, or an Ed25519 key'
        : `use one of: ${supported.join(', ')}`,
    );
  }
  return { privateKey, keyId: options.keyId ?? textOf(jwk?.['kid']) ?? null, algorithm };
}

/**
 * Signs a JWT (RFC 7519 §4.1).
 * @throws SidekeyError `input_invalid` as `readSigningKey`; errors of jose if the key does not fit the
 * algorithm, which may reveal parts of the key
 */
export async function signJwt(
  { privateKey, keyId, algorithm }: SigningKey,
  claims: JWTPayload,
): Promise<string> {
  // Few logins sign JWTs. Loading jose later makes the start faster.
  const { SignJWT } = await import('jose');
  return new SignJWT(claims)
    .setProtectedHeader({ alg: algorithm, typ: 'JWT', ...(keyId === null ? {} : { kid: keyId }) })
    .sign(open(privateKey));
}

function open(text: string): KeyObject {
  const jwk = jwkOf(text);
  try {
    return jwk === null ? createPrivateKey(text) : createPrivateKey({ key: jwk, format: 'jwk' });
  } catch {
    const isEncrypted = /ENCRYPTED/.test(text);
    throw inputInvalid(
      isEncrypted ? 'The private key is encrypted with a passphrase.' : 'The private key cannot be read.',
      isEncrypted
        ? 'decrypt it first: openssl pkey -in KEY -out PLAIN_KEY'
        : 'a private key is PEM (PKCS#8, PKCS#1 or SEC 1), or a JWK with its "d"',
    );
  }
}

function jwkOf(text: string): Record<string, unknown> | null {
  if (!text.startsWith('{')) return null;
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch {
    return null;
  }
}

function kindOf({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject): string {
  return asymmetricKeyType === 'ec'
    ? `ec ${asymmetricKeyDetails?.namedCurve ?? 'unknown'}`
    : (asymmetricKeyType ?? 'unknown');
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}
