import { createPrivateKey, generateKeyPairSync } from 'node:crypto';
import forge from 'node-forge';
import { expect, describe, test } from 'vitest';
import { SidekeyError } from '../../../src/lib/errors.ts';
import { certificateFacts } from '../../../src/grants/client-certificate.ts';
import { readCredential } from '../../../src/grants/credential-input.ts';
import { erased } from '../../../src/grants/credential-shape.ts';
import { readSealed, writeSealed } from '../../../src/grants/sealed-text.ts';
import { clockOf, endOf } from '../../../src/domain/credential.ts';
import { makeTestAuthority } from '../../support/certificates.ts';
import { upstreamLeaf } from '../../support/upstream.ts';
import { hintText } from '../../../src/lib/hint.ts';

const day = 86_400_000;
const now = Date.now();
const root = makeTestAuthority('Acme Root');
const middle = root.subordinate('Acme Clients');
const { cert, key } = middle.issue(['agents']);
const pkcs8 = createPrivateKey(key).export({ type: 'pkcs8', format: 'pem' });
const read = (text: string, at = now) => readCredential(text, { now: () => at }).credential;
const json = (certificate: string, privateKey: string, more: object = {}) =>
  read(JSON.stringify({ type: 'client_certificate', certificate, private_key: privateKey, ...more }));

function problem(what: () => unknown): SidekeyError {
  try {
    what();
  } catch (error) {
    if (error instanceof SidekeyError && error.code === 'input_invalid') return error;
    throw error;
  }
  throw new Error('It was accepted.');
}

const plain = {
  type: 'client_certificate',
  certificate: cert.replaceAll('\r', ''),
  privateKey: pkcs8,
  expiresAt: Math.floor((now + day) / 1_000) * 1_000,
};

/** A time in whole seconds, as in certificates; the certificate may begin one second earlier. */
function expectPlain(credential: unknown): void {
  const { expiresAt, ...rest } = credential as typeof plain;
  const { expiresAt: expected, ...others } = plain;
  expect(rest).toEqual(others);
  expect(Math.abs(expiresAt - expected)).toBeLessThanOrEqual(1_000);
}

describe('a client certificate and its key', () => {
  test('are read from JSON, with or without the type, and in camelCase', () => {
    expectPlain(json(cert, key));
    expectPlain(read(JSON.stringify({ certificate: cert, private_key: key })));
    expectPlain(read(JSON.stringify({ certificate: cert, privateKey: key })));
  });

  test('are read from PEM, in any order, with other text around the blocks', () => {
    expectPlain(read(cert + key));
    expectPlain(read(`Bag Attributes\n    friendlyName: agents\n${key}\nsubject=CN = agents\n${cert}`));
    expectPlain(
      read(
        `\uFEFF-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n${cert}${key}`,
      ),
    );
  });

  test.each([
    ['PKCS #1', key],
    ['PKCS #8', pkcs8],
  ])('are stored with the key as PKCS #8: %s', (_form, written) => {
    expectPlain(read(cert + written));
  });

  test('are stored with the chain in order, without the root and unrelated certificates', () => {
    const stranger = makeTestAuthority('Somebody else').cert;
    const { certificate } = read(cert + stranger + root.cert + middle.cert + key) as { certificate: string };
    expect(certificate.replaceAll('\r', '')).toBe((cert + middle.cert).replaceAll('\r', ''));
  });

  const locked = createPrivateKey(key).export({
    type: 'pkcs8',
    format: 'pem',
    cipher: 'aes-256-cbc',
    passphrase: 'the passphrase',
  });

  test('are read with the passphrase of the key, and stored without it', () => {
    expectPlain(json(cert, locked, { passphrase: 'the passphrase' }));
  });

  test('are refused without the passphrase, with the command that prompts for it', () => {
    const { message, hint } = problem(() => read(cert + locked));
    expect(message).toBe('The private key is encrypted.');
    expect(hintText(hint)).toContain('openssl pkey -in client.key; } | sidekey grant import');
    expect(problem(() => json(cert, locked, { passphrase: 'another' })).message).toBe(
      'The passphrase does not open the private key.',
    );
  });

  test.each<[what: string, text: string, says: RegExp, at: number]>([
    ['only a key', key, /no certificate in the input/, now],
    ['only a certificate', cert, /no private key in the input/, now],
    ['two keys', cert + key + pkcs8, /more than one private key/, now],
    [
      'a damaged certificate',
      cert.replace(/(?<=[^-]\r\n).{20}/, '') + key,
      /Certificate 1 of the input cannot be read/,
      now,
    ],
    ['a damaged key', cert + key.replace(/\n.{40}/, '\n'), /private key cannot be read/, now],
    ['a key of another certificate', cert + upstreamLeaf('stranger').key, /belongs to no certificate/, now],
    ['an expired certificate', cert + key, /has expired: it ended at \d{4}-/, now + 2 * day],
    ['a certificate that is not valid yet', cert + key, /not valid yet: it begins at \d{4}-/, now - 2 * day],
  ])('are refused: %s', (_what, text, says, at) => {
    const { message, hint } = problem(() => read(text, at));
    expect(message).toMatch(says);
    expect(hint).toBeDefined();
  });

  test('are refused when the certificate is only for servers', () => {
    const server = upstreamLeaf('api.acme.test');
    expect(problem(() => read(server.cert + server.key)).message).toMatch(/is not for clients/);
  });

  test('are refused when TLS cannot use them', () => {
    // The key is too short for TLS libraries.
    const weak = generateKeyPairSync('rsa', {
      modulusLength: 1024,
      privateKeyEncoding: { type: 'pkcs1', format: 'pem' },
      publicKeyEncoding: { type: 'spki', format: 'pem' },
    });
    const certificate = forge.pki.createCertificate();
    certificate.publicKey = forge.pki.publicKeyFromPem(weak.publicKey);
    certificate.serialNumber = '01';
    certificate.validity.notBefore = new Date(now - day);
    certificate.validity.notAfter = new Date(now + day);
    certificate.setSubject([{ name: 'commonName', value: 'weak' }]);
    certificate.setIssuer([{ name: 'commonName', value: 'weak' }]);
    certificate.sign(forge.pki.privateKeyFromPem(weak.privateKey), forge.md.sha256.create());
    const text = forge.pki.certificateToPem(certificate) + weak.privateKey;
    expect(problem(() => read(text)).message).toMatch(/cannot be used for TLS \(ERR_/);
  });

  test('are refused without a part of the key in the message', () => {
    const lines = [key, pkcs8, locked].flatMap((pem) => pem.split('\n')).filter((it) => it.length > 40);
    const faults = [
      () => read(key),
      () => read(cert + key + pkcs8),
      () => read(cert + key.replace(/\n.{40}/, '\n')),
      () => read(cert + locked),
      () => json(cert, locked, { passphrase: 'another' }),
      () => json(key, key),
      () => read(JSON.stringify({ type: 'client_certificate', certificate: 7, private_key: key })),
    ].map(problem);
    for (const { message, hint, cause, stack } of faults) {
      expect(cause).toBe(undefined);
      for (const line of lines) expect(`${message} ${hintText(hint)} ${stack}`).not.toContain(line);
    }
  });

  test('are sealed and read back, and the key is removed when the grant is revoked', () => {
    const sealed = { credential: read(cert + key), audience: ['bank.example'] };
    expect(readSealed(writeSealed(sealed), 'id')).toEqual(sealed);
    const left = erased(sealed);
    expect(JSON.stringify(left)).not.toContain('PRIVATE KEY');
    expect(readSealed(writeSealed(left), 'id')).toEqual(left);
    // Subject and issuer are still shown.
    expect(certificateFacts(left.credential)).toEqual(certificateFacts(sealed.credential));
  });

  test('expire when the certificate does', () => {
    const credential = read(cert + key);
    const end = endOf(credential)!;
    expect(clockOf(credential, end - 1, 60_000)).toBe('fresh');
    expect(clockOf(credential, end, 60_000)).toBe('ended');
  });

  test('are shown with subject, issuer, serial number and expiry', () => {
    expect(certificateFacts(read(cert + middle.cert + key))).toMatchObject({
      subject: 'CN=upstream of a test',
      issuer: 'CN=Acme Clients',
      serial: expect.stringMatching(/^01[0-9A-F]{6}$/) as string,
      sha256: expect.stringMatching(/^[0-9a-f]{64}$/) as string,
      issuers: 1,
    });
    expect(certificateFacts({ type: 'api_key', value: 'x' })).toBe(null);
  });
});
