import { X509Certificate, createPrivateKey } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { issueLeaf } from '../../../src/ca/leaf-cache.ts';
import { freshAuthority, handshake, hasProgram, opensslVerify } from './ca-for-test.ts';

const noOpenssl = !hasProgram('openssl', 'version');
const dayMs = 86_400_000;
const hosts = [
  'api.acme.test',
  'localhost',
  'my_bucket.acme.test',
  `${'a'.repeat(63)}.acme.test`,
  '192.0.2.7',
  '[2001:db8::7]',
];

describe('a leaf', () => {
  it.each(hosts)('is accepted by a TLS client that trusts the CA and requests %s', async (host) => {
    const authority = await freshAuthority();
    const leaf = issueLeaf(authority, host, Date.now());
    expect(await handshake(leaf.secureContextOptions, authority.certificatePem, host)).toBe('TLSv1.3');
    expect(
      await handshake(leaf.secureContextOptions, authority.certificatePem, host, { maxVersion: 'TLSv1.2' }),
    ).toBe('TLSv1.2');
  });

  it.each([
    ['api.acme.test', 'www.acme.test'],
    ['api.acme.test', 'v1.api.acme.test'],
    ['api.acme.test', 'acme.test'],
    ['192.0.2.7', '192.0.2.8'],
    ['[2001:db8::7]', '[2001:db8::8]'],
  ])('for %s is refused for %s', async (host, other) => {
    const authority = await freshAuthority();
    const leaf = issueLeaf(authority, host, Date.now());
    expect(await handshake(leaf.secureContextOptions, authority.certificatePem, other)).toBe(
      'ERR_TLS_CERT_ALTNAME_INVALID',
    );
  });

  it('is refused by a client that trusts another CA', async () => {
    const [authority, other] = [await freshAuthority(), await freshAuthority()];
    const leaf = issueLeaf(authority, 'api.acme.test', Date.now());
    expect(await handshake(leaf.secureContextOptions, other.certificatePem, 'api.acme.test')).toBe(
      'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
    );
  });

  it('is not served below TLS 1.2, whatever the process defaults are', async () => {
    const authority = await freshAuthority();
    const { minVersion, ...leaf } = issueLeaf(authority, 'api.acme.test', Date.now()).secureContextOptions;
    const old = { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' } as const;
    const lax = { ...leaf, ciphers: old.ciphers, minVersion: 'TLSv1' } as const;
    const asWeServe = { ...lax, minVersion };
    expect(minVersion).toBe('TLSv1.2');
    expect(await handshake(lax, authority.certificatePem, 'api.acme.test', old)).toBe('TLSv1.1');
    expect(await handshake(asWeServe, authority.certificatePem, 'api.acme.test', old)).toBe(
      'ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION',
    );
  });

  it.skipIf(noOpenssl).each(hosts)('verifies strictly in openssl for %s', async (host) => {
    const authority = await freshAuthority();
    const leaf = issueLeaf(authority, host, Date.now());
    expect(await opensslVerify(authority.certificatePem, leaf.certificatePem, host)).toBe('leaf: OK\n');
  });

  it.skipIf(noOpenssl).each([
    ['api.acme.test', ['acme.test']],
    ['acme.test', ['acme.test', '10.1.2.0/24']],
    ['10.1.2.9', ['acme.test', '10.1.2.0/24']],
    ['10.1.2.9', ['10.1.2.9']],
    ['[fd00::9]', ['fd00::/8']],
    ['[fd00::9]', ['fd00::/8', 'acme.test', '10.0.0.0/8']],
  ])('verifies strictly in openssl for %s under a CA that is permitted %j', async (host, permitted) => {
    const authority = await freshAuthority(permitted);
    const leaf = issueLeaf(authority, host, Date.now());
    expect(await opensslVerify(authority.certificatePem, leaf.certificatePem, host)).toBe('leaf: OK\n');
    expect(await handshake(leaf.secureContextOptions, authority.certificatePem, host)).toBe('TLSv1.3');
  });

  it('has its own key, which matches its certificate', async () => {
    const authority = await freshAuthority();
    const leaves = ['a.test', 'a.test'].map((host) => issueLeaf(authority, host, Date.now()));
    expect(new Set(leaves.map((leaf) => leaf.privateKeyPem)).size).toBe(2);
    for (const leaf of leaves) {
      const certificate = new X509Certificate(leaf.certificatePem);
      expect(certificate.checkPrivateKey(createPrivateKey(leaf.privateKeyPem))).toBe(true);
    }
  });

  it('begins one day before, or with its CA', async () => {
    const start = Date.UTC(2027, 0, 1);
    const authority = await freshAuthority([], () => start);
    expect(issueLeaf(authority, 'a.test', start + 9 * dayMs).notBefore).toBe(start + 8 * dayMs);
    expect(issueLeaf(authority, 'a.test', start - dayMs / 2).notBefore).toBe(authority.notBefore);
  });

  it('ends no later than its CA', async () => {
    const authority = await freshAuthority();
    const leaf = issueLeaf(authority, 'a.test', authority.notAfter - 3 * dayMs);
    expect(new X509Certificate(leaf.certificatePem).validToDate.getTime()).toBe(authority.notAfter);
    expect(leaf.notAfter).toBe(authority.notAfter);
  });

  it('reports the same validity as its certificate', async () => {
    const authority = await freshAuthority([], () => Date.UTC(2027, 0, 1) + 123);
    const leaf = issueLeaf(authority, 'a.test', Date.UTC(2027, 3, 1) + 456);
    const certificate = new X509Certificate(leaf.certificatePem);
    expect(certificate.validFromDate.getTime()).toBe(leaf.notBefore);
    expect(certificate.validToDate.getTime()).toBe(leaf.notAfter);
  });

  it('is refused when the clock is outside the lifetime of the CA', async () => {
    const authority = await freshAuthority();
    expect(() => issueLeaf(authority, 'a.test', authority.notBefore - 1)).toThrowError(
      expect.objectContaining({ code: 'clock_wrong' }),
    );
    expect(() => issueLeaf(authority, 'a.test', authority.notAfter)).toThrowError(
      expect.objectContaining({ code: 'ca_mismatch' }),
    );
  });
});
