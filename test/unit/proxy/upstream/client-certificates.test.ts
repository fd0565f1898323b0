import { execFileSync } from 'node:child_process';
import { generateKeyPairSync, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import { describe, expect, it } from 'vitest';
import { createDialer } from '../../../../src/proxy/upstream/dialer.ts';
import { type ClientCertificate, createTrust } from '../../../../src/proxy/upstream/tls.ts';
import { makeTestAuthority } from '../../../support/certificates.ts';
import { tempFolder } from '../../../support/temp-folder.ts';
import { authorityOf, patternOf } from '../policy/policy-for-test.ts';
import { tlsUpstream } from './upstream-for-test.ts';

const company = makeTestAuthority('Company CA');
const server = company.issue(['api.example', 'www.acme.example', 'other.example']);
const first = company.issue(['first client']);
const second = company.issue(['second client']);
const serialOf = (pem: string) => new X509Certificate(pem).serialNumber;

function certificate(pattern: string, { cert, key } = first): ClientCertificate {
  return {
    pattern: patternOf(pattern),
    origin: `sidekey.yaml:3:5: upstream.client_certificates["${pattern}"]`,
    material: { cert: Buffer.from(cert), key: Buffer.from(key) },
  };
}

function dialerWith(...certificates: readonly ClientCertificate[]) {
  return createDialer({
    route: () => Promise.resolve({ kind: 'direct', addresses: [{ address: '127.0.0.1', family: 4 }] }),
    trust: createTrust([company.cert], certificates),
    timeoutMs: 10_000,
    proxy: null,
  });
}

describe('a client certificate', () => {
  it('is sent only to authorities of its pattern; the most specific pattern applies', async () => {
    const seen: (string | undefined)[] = [];
    const asking = { ...server, ca: company.cert, requestCert: true, rejectUnauthorized: false };
    await using asked = await tlsUpstream(asking, (socket) => {
      const { authorized } = socket as TLSSocket;
      seen.push(authorized ? (socket as TLSSocket).getPeerCertificate().serialNumber : undefined);
      socket.end('x');
    });
    const { port } = asked;
    const dialer = dialerWith(
      certificate(`*.acme.example:${port}`),
      certificate(`www.acme.example:${port}`, second),
      certificate('other.example'),
      certificate(`api.example:${port}`),
    );
    for (const host of ['api.example', 'www.acme.example', 'other.example', 'api.example']) {
      const socket = (await dialer.connect(authorityOf(`${host}:${port}`))) as TLSSocket;
      await once(socket.resume(), 'close');
    }
    expect(seen).toEqual([serialOf(first.cert), serialOf(second.cert), undefined, serialOf(first.cert)]);
  });

  it('is accepted by a server that requires a client certificate', async () => {
    const strict = { ...server, ca: company.cert, requestCert: true, rejectUnauthorized: true };
    await using asked = await tlsUpstream({ ...strict, maxVersion: 'TLSv1.2' });
    const target = authorityOf(`api.example:${asked.port}`);
    await expect(dialerWith().connect(target)).rejects.toMatchObject({ code: 'upstream_tls' });
    (await dialerWith(certificate(`api.example:${asked.port}`)).connect(target)).destroy();
  });
});

const encrypted = execFileSync('openssl', ['rsa', '-aes256', '-passout', 'pass:right'], {
  input: first.key,
  stdio: ['pipe', 'pipe', 'ignore'],
});
const ofAnotherKind = generateKeyPairSync('ec', {
  namedCurve: 'P-256',
  publicKeyEncoding: { type: 'spki', format: 'pem' },
  privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
}).privateKey;
const another = generateKeyPairSync('rsa', {
  modulusLength: 2048,
  publicKeyEncoding: { type: 'spki', format: 'pem' },
  privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
}).privateKey;

const of = (material: ClientCertificate['material']) => () =>
  createTrust([], [{ pattern: patternOf('api.example'), origin: 'x', material }]);

async function pfx(): Promise<Buffer> {
  const folder = await tempFolder();
  const [pem, out] = [join(folder, 'both.pem'), join(folder, 'both.p12')];
  writeFileSync(pem, first.cert + first.key, { mode: 0o600 });
  execFileSync('openssl', ['pkcs12', '-export', '-in', pem, '-out', out, '-passout', 'pass:right']);
  return readFileSync(out);
}

describe('rejects an unusable client certificate at once', () => {
  const cert = Buffer.from(first.cert);
  const key = Buffer.from(first.key);

  it.each([
    [
      'a key of another certificate',
      { cert, key: Buffer.from(another) },
      'the key is not that of the certificate',
    ],
    [
      'a key of another kind',
      { cert, key: Buffer.from(ofAnotherKind) },
      'the key is not that of the certificate',
    ],
    [
      'a key without its passphrase',
      { cert, key: encrypted },
      'the passphrase of the key is missing or wrong',
    ],
    [
      'a wrong passphrase',
      { cert, key: encrypted, passphrase: 'no' },
      'the passphrase of the key is missing or wrong',
    ],
    ['an invalid key', { cert, key: Buffer.from('hello') }, 'the key cannot be read as PEM'],
    ['an invalid certificate', { cert: key, key }, 'the certificate cannot be read as PEM'],
    ['an invalid PKCS #12 file', { pfx: cert }, 'the file cannot be used as a certificate with its key'],
  ])('%s', (_what, material, problem) => {
    const origin = 'sidekey.yaml:3:5: upstream.client_certificates["api.example"]';
    expect(() => createTrust([], [{ pattern: patternOf('api.example'), origin, material }])).toThrow(
      expect.objectContaining({ code: 'config_invalid', message: `${origin}: ${problem}.` }) as Error,
    );
  });

  it('for any wrong passphrase of a key, even one that decrypts to bytes with a valid padding', () => {
    for (let guess = 0; guess < 600; guess += 1)
      expect(of({ cert, key: encrypted, passphrase: `no-${guess}` })).toThrow(/passphrase of the key is/);
  });

  it('for a wrong passphrase of a PKCS #12 file, and accepts the right passphrase', async () => {
    const both = await pfx();
    expect(of({ pfx: both, passphrase: 'no' })).toThrow(
      /passphrase of the PKCS #12 file is missing or wrong/,
    );
    expect(of({ pfx: both })).toThrow(/passphrase of the PKCS #12 file is missing or wrong/);
    expect(of({ pfx: both, passphrase: 'right' })).not.toThrow();
    expect(of({ cert, key: encrypted, passphrase: 'right' })).not.toThrow();
  });
});
