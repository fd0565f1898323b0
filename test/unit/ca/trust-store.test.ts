import { execFileSync, spawnSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { rootCertificates } from 'node:tls';
import { describe, expect, it } from 'vitest';
import { machineRoots, pkcs12TrustStore, trustedCertificates } from '../../../src/ca/trust-bundle.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { freshAuthority, hasProgram } from './ca-for-test.ts';

const noKeytool = !hasProgram('keytool', '-help');
const noOpenssl = !hasProgram('openssl', 'version');
const roots = { system: rootCertificates.slice(0, 5), fallback: [] };

async function written(store: Buffer): Promise<string> {
  const file = join(await tempFolder(), 'trust.p12');
  await writeFile(file, store);
  return file;
}

function keytool(file: string, password: string): string {
  return spawnSync('keytool', ['-list', '-storetype', 'PKCS12', '-keystore', file, '-storepass', password], {
    encoding: 'utf8',
  }).stdout;
}

describe('the trust store for Java', () => {
  it.skipIf(noKeytool)('lists Sidekey’s CA and each root as trusted (skipped without keytool)', async () => {
    const { certificatePem } = await freshAuthority();
    const listed = keytool(await written(pkcs12TrustStore(certificatePem, 'changeit', roots)), 'changeit');
    expect(listed).toContain('Your keystore contains 6 entries');
    expect(listed.match(/trustedCertEntry/g)).toHaveLength(6);
    const { fingerprint256 } = new X509Certificate(certificatePem);
    expect(listed).toMatch(new RegExp(`^sidekey-ca, .*trustedCertEntry, \\n.*: ${fingerprint256}$`, 'm'));
    for (const root of roots.system) expect(listed).toContain(new X509Certificate(root).fingerprint256);
  });

  it.skipIf(noKeytool)(
    'contains all roots of this machine, because it replaces those of Java (skipped without keytool)',
    async () => {
      const { certificatePem } = await freshAuthority();
      const expected = trustedCertificates(certificatePem, machineRoots()).length;
      const listed = keytool(await written(pkcs12TrustStore(certificatePem, 'pass word')), 'pass word');
      expect(listed).toContain(`Your keystore contains ${expected} entries`);
    },
  );

  it.skipIf(noKeytool)('does not open with another password (skipped without keytool)', async () => {
    const { certificatePem } = await freshAuthority();
    const file = await written(pkcs12TrustStore(certificatePem, 'changeit', roots));
    expect(keytool(file, 'another')).toMatch(/integrity check/i);
  });

  it.skipIf(noOpenssl)('verifies in openssl (skipped without openssl)', async () => {
    const { certificatePem } = await freshAuthority();
    const file = await written(pkcs12TrustStore(certificatePem, 'changeit', roots));
    const options = ['pkcs12', '-in', file, '-nokeys', '-passin', 'pass:changeit'];
    const listed = execFileSync('openssl', options, { encoding: 'utf8' });
    expect(listed).toContain(certificatePem);
    expect(listed.match(/BEGIN CERTIFICATE/g)).toHaveLength(6);
  });

  it.each(['', 'pässwörd', 'a\nb'])(
    'refuses the password %j, which Java does not accept',
    async (password) => {
      const { certificatePem } = await freshAuthority();
      expect(() => pkcs12TrustStore(certificatePem, password, roots)).toThrowError(
        expect.objectContaining({ code: 'input_invalid' }),
      );
    },
  );
});
