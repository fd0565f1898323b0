import { execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { rootCertificates } from 'node:tls';
import { describe, expect, it } from 'vitest';
import { machineRoots, pemBundle, trustedCertificates } from '../../../src/ca/trust-bundle.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { freshAuthority, hasProgram } from './ca-for-test.ts';

const [rootA = '', rootB = '', rootC = ''] = rootCertificates;

function fingerprints(pem: string): string[] {
  const each = pem.match(/-----BEGIN[^]+?-----END CERTIFICATE-----\n/g) ?? [];
  expect(each.join('')).toBe(pem);
  return each.map((one) => new X509Certificate(one).fingerprint256);
}

describe('the trust bundle', () => {
  it('has Sidekey’s CA first, then each system root once', async () => {
    const { certificatePem } = await freshAuthority();
    const roots = { system: [rootA, rootB, `${rootA}\n`, certificatePem], fallback: [rootC] };
    expect(fingerprints(pemBundle(certificatePem, roots))).toEqual(
      [certificatePem, rootA, rootB].map((pem) => new X509Certificate(pem).fingerprint256),
    );
  });

  it('reads every root of a file with several roots', async () => {
    const { certificatePem } = await freshAuthority();
    const roots = { system: [`${rootA}\n${rootB}\n`], fallback: [] };
    expect(trustedCertificates(certificatePem, roots)).toHaveLength(3);
  });

  it('falls back to the roots of Node if the system has none', async () => {
    const { certificatePem } = await freshAuthority();
    const bundle = pemBundle(certificatePem, { system: [], fallback: [rootC] });
    expect(fingerprints(bundle)).toContain(new X509Certificate(rootC).fingerprint256);
  });

  it('falls back to the roots of Node if the system trusts only Sidekey’s CA', async () => {
    const { certificatePem } = await freshAuthority();
    const bundle = pemBundle(certificatePem, { system: [certificatePem], fallback: [rootC] });
    expect(fingerprints(bundle)).toEqual(
      [certificatePem, rootC].map((pem) => new X509Certificate(pem).fingerprint256),
    );
  });

  it('contains more than 50 roots on this machine', async () => {
    const { certificatePem } = await freshAuthority();
    expect(fingerprints(pemBundle(certificatePem)).length).toBeGreaterThan(50);
    expect(machineRoots().fallback.length).toBeGreaterThan(50);
  });

  it.skipIf(!hasProgram('openssl', 'version'))('is readable for openssl', async () => {
    const { certificatePem } = await freshAuthority();
    const bundle = pemBundle(certificatePem);
    const file = join(await tempFolder(), 'bundle.pem');
    await writeFile(file, bundle);
    const listed = execFileSync('openssl', ['storeutl', '-noout', '-certs', file], { encoding: 'utf8' });
    expect(listed).toContain(`Total found: ${fingerprints(bundle).length}`);
  });
});
