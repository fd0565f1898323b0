import { createPublicKey, verify } from 'node:crypto';
import { calculateJwkThumbprint, EmbeddedJWK, type JWK, jwtVerify } from 'jose';
import { describe, expect, test } from 'vitest';
import {
  accessTokenHash,
  isDpopKey,
  newDpopKey,
  type ProofFacts,
  proofHeader,
  proofKey,
  signingInput,
  signProof,
  thumbprint,
} from '../../../../src/proxy/schemes/dpop-proof.ts';

/** The public key in the examples of RFC 9449. */
const example = {
  kty: 'EC',
  x: 'l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs',
  y: '9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA',
  crv: 'P-256',
};

const facts: ProofFacts = {
  id: '-BwC3ESc6acc2lTc',
  method: 'POST',
  uri: 'https://server.example.com/token',
  now: 1_562_262_616_999,
  accessToken: null,
  nonce: null,
};

describe('the examples of the RFCs', () => {
  test('a proof for a token endpoint (RFC 9449 §4.1) has the same content, and its signature verifies', () => {
    const signature =
      '2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg';
    const input = signingInput(proofHeader('ES256', example), facts);
    const key = createPublicKey({ key: example, format: 'jwk' });
    const isSigned = verify(
      'sha256',
      Buffer.from(input),
      { key, dsaEncoding: 'ieee-p1363' },
      Buffer.from(signature, 'base64url'),
    );
    expect(isSigned).toBe(true);
  });

  test('the thumbprint of that key is equal (RFC 9449 §6.1)', () => {
    expect(thumbprint(example)).toBe('0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I');
  });

  test('the hash of a token is equal (RFC 9449 §7.1)', () => {
    const token = 'Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU';
    expect(accessTokenHash(token)).toBe('fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo');
  });

  test('the thumbprint of an RSA key ignores other members (RFC 7638 §3.1)', () => {
    const n =
      '0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw';
    expect(thumbprint({ kty: 'RSA', n, e: 'AQAB', alg: 'RS256', kid: '2011-04-29' })).toBe(
      'NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs',
    );
  });
});

describe.each(['ES256', 'EdDSA'] as const)('a key that signs with %s', (algorithm) => {
  test('creates proofs that others can verify, and that contain only its public part', async () => {
    const made = newDpopKey(algorithm);
    const key = proofKey(made);
    const proof = signProof(key, { ...facts, accessToken: 'access-1', nonce: 'n-1' });
    const { payload, protectedHeader } = await jwtVerify(proof, EmbeddedJWK, {
      typ: 'dpop+jwt',
      algorithms: [algorithm],
    });
    expect(payload).toEqual({
      jti: '-BwC3ESc6acc2lTc',
      htm: 'POST',
      htu: 'https://server.example.com/token',
      iat: 1_562_262_616,
      ath: accessTokenHash('access-1'),
      nonce: 'n-1',
    });
    const { jwk = {} } = protectedHeader as { jwk?: JWK };
    expect(jwk).not.toHaveProperty('d');
    expect(await calculateJwkThumbprint(jwk)).toBe(key.thumbprint);
    expect(proof).not.toContain(made.d);
  });

  test('is unique, and equal after it was stored and read', () => {
    const made = newDpopKey(algorithm);
    expect(newDpopKey(algorithm).d).not.toBe(made.d);
    const read: unknown = JSON.parse(JSON.stringify(made));
    expect(isDpopKey(read)).toBe(true);
    if (isDpopKey(read)) expect(proofKey(read).thumbprint).toBe(proofKey(made).thumbprint);
    expect(proofKey(made)).toBe(proofKey(made));
  });

  test.each([
    ['null', null],
    ['a plain text', 'key'],
    ['another curve', { ...newDpopKey(algorithm), crv: 'P-384' }],
    ['no private part', { ...newDpopKey(algorithm), d: undefined }],
    ['a number over the length limit', { ...newDpopKey(algorithm), x: 'A'.repeat(44) }],
    [
      'members of the other key type',
      { ...newDpopKey(algorithm), crv: algorithm === 'ES256' ? 'Ed25519' : 'P-256' },
    ],
  ])('is refused with %s', (_what, value) => {
    expect(isDpopKey(value)).toBe(false);
  });
});
