import { createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { jwtVerify, type JWTPayload } from 'jose';
import type { SigningKey } from '../../../src/domain/credential.ts';

/** A signing key and its public key. */
export interface TestKey extends SigningKey {
  readonly publicKey: KeyObject;
}

/** A new key: PKCS#1 for RSA, the format of GitHub's keys; otherwise PKCS#8. */
export function aKey(algorithm: 'RS256' | 'ES256' | 'EdDSA' = 'RS256', keyId: string | null = null): TestKey {
  const { privateKey } =
    algorithm === 'RS256'
      ? generateKeyPairSync('rsa', { modulusLength: 2048 })
      : algorithm === 'ES256'
        ? generateKeyPairSync('ec', { namedCurve: 'P-256' })
        : generateKeyPairSync('ed25519');
  const type = algorithm === 'RS256' ? 'pkcs1' : 'pkcs8';
  const pem = privateKey.export({ format: 'pem', type: type as 'pkcs8' });
  return { privateKey: pem, keyId, algorithm, publicKey: createPublicKey(privateKey) };
}

/** The claims of a token, after its signature and times were verified at `now`. */
export async function verified(
  jwt: string | undefined,
  { publicKey }: TestKey,
  now: number,
): Promise<{ readonly payload: JWTPayload; readonly header: object }> {
  const { payload, protectedHeader: header } = await jwtVerify(jwt ?? '', publicKey, {
    currentDate: new Date(now),
  });
  return { payload, header };
}
