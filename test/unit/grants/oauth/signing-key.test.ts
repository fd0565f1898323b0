import { createPrivateKey, createPublicKey, generateKeyPairSync } from 'node:crypto';
import { jwtVerify } from 'jose';
import { describe, expect, test } from 'vitest';
import { SidekeyError } from '../../../../src/lib/errors.ts';
import { readSigningKey, signJwt } from '../../../../src/grants/oauth/signing-key.ts';
import { aKey } from '../keys-for-test.ts';
import { hintText } from '../../../../src/lib/hint.ts';

const rsa = aKey('RS256');
const jwkOf = (pem: string, more: object = {}) =>
  JSON.stringify({ ...createPrivateKey(pem).export({ format: 'jwk' }), ...more });

/** The error that the function throws. */
function failure(run: () => unknown): SidekeyError {
  try {
    run();
  } catch (error) {
    if (error instanceof SidekeyError) return error;
  }
  throw new Error('It did not fail as it should.');
}

describe('a private key', () => {
  test.each([
    ['PKCS#1', rsa.privateKey, 'RS256'],
    ['PKCS#8', createPrivateKey(rsa.privateKey).export({ format: 'pem', type: 'pkcs8' }), 'RS256'],
    ['with blank lines around it', `\n\n${rsa.privateKey}\n\n`, 'RS256'],
    ['EC', aKey('ES256').privateKey, 'ES256'],
    ['Ed25519', aKey('EdDSA').privateKey, 'EdDSA'],
    ['JWK', jwkOf(rsa.privateKey), 'RS256'],
  ])('is read, and signs: %s', async (_what, text, algorithm) => {
    const key = readSigningKey(text);
    expect(key).toMatchObject({ keyId: null, algorithm });
    const { payload, protectedHeader } = await jwtVerify(
      await signJwt(key, { iss: 'sidekey' }),
      createPublicKey(
        createPrivateKey(text.startsWith('{') ? { key: JSON.parse(text), format: 'jwk' } : text),
      ),
    );
    expect(payload).toEqual({ iss: 'sidekey' });
    expect(protectedHeader).toEqual({ alg: algorithm, typ: 'JWT' });
  });

  test('has the key id of its JWK, unless one is configured', () => {
    const jwk = jwkOf(rsa.privateKey, { kid: 'k1', alg: 'PS256' });
    expect(readSigningKey(jwk)).toMatchObject({ keyId: 'k1', algorithm: 'PS256' });
    const said = { keyId: 'k2', algorithm: 'RS512' };
    expect(readSigningKey(jwk, said)).toMatchObject(said);
  });
});

describe('a key that cannot sign is refused without its content in the message:', () => {
  const pair = generateKeyPairSync('rsa', {
    modulusLength: 2048,
    publicKeyEncoding: { format: 'pem', type: 'spki' },
    privateKeyEncoding: { format: 'pem', type: 'pkcs8', cipher: 'aes-256-cbc', passphrase: 'secret' },
  });
  const x25519 = generateKeyPairSync('x25519').privateKey.export({ format: 'pem', type: 'pkcs8' });
  test.each([
    ['a plain text', 'hunter2', {}, /cannot be read/],
    ['a public key', pair.publicKey, {}, /cannot be read/],
    [
      'a JWK without its private part',
      JSON.stringify({ kty: 'RSA', n: 'hunter2', e: 'AQAB' }),
      {},
      /cannot be read/,
    ],
    ['an encrypted key', pair.privateKey, {}, /encrypted with a passphrase/],
    ['a key type without signatures', x25519, {}, /does not sign JWTs/],
    [
      'a key that does not support the algorithm',
      rsa.privateKey,
      { algorithm: 'ES256' },
      /does not sign with ES256/,
    ],
    ['an unknown algorithm', rsa.privateKey, { algorithm: 'none of your business' }, /does not sign JWTs/],
    ['the algorithm "none"', rsa.privateKey, { algorithm: 'none' }, /does not sign with none/],
  ])('%s', (_what, text, options, message) => {
    const error = failure(() => readSigningKey(text, options));
    expect(error).toMatchObject({ code: 'input_invalid', message: expect.stringMatching(message) });
    expect(`${error.message} ${hintText(error.hint)}`).not.toMatch(/hunter|business|MII/);
  });
});
