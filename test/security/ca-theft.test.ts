/**
 * An unsealed CA key on disk signs any host: the key is sealed, leaves are short-lived, names are
 * constrained.
 */
import { createPrivateKey, generateKeyPairSync, X509Certificate } from 'node:crypto';
import { chmod, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import { type CertificateAuthority, openAuthority } from '../../src/ca/authority.ts';
import {
  certificatePem,
  commonName,
  generalNameOf,
  leafExtensions,
  signCertificate,
} from '../../src/ca/certificate.ts';
import { createLeafCache, issueLeaf } from '../../src/ca/leaf-cache.ts';
import * as fc from '../support/fast-check.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { freshAuthority, handshake, hasProgram, opensslVerify } from '../unit/ca/ca-for-test.ts';
import { vaultForTest } from '../unit/store/vault/vault-for-test.ts';

const noOpenssl = !hasProgram('openssl', 'version');
const dayMs = 86_400_000;

async function created() {
  const options = {
    directory: await tempFolder(),
    vault: vaultForTest(),
    permittedNames: [],
    now: Date.now,
  };
  const authority = await openAuthority(options);
  return { options, authority, key: join(options.directory, 'ca.key') };
}

/** A leaf as whoever stole the key would make it: without our checks. */
function forged(authority: CertificateAuthority, host: string): { cert: string; key: string } {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const der = signCertificate({
    issuer: authority.issuer,
    subject: commonName('Forged'),
    notBefore: Date.now() - dayMs,
    notAfter: Date.now() + dayMs,
    publicKey,
    extensions: leafExtensions(generalNameOf(host)),
  });
  return { cert: certificatePem(der), key: privateKey.export({ type: 'pkcs8', format: 'pem' }) };
}

describe('the CA key on disk', () => {
  it('is sealed: neither the file nor its decoded content is a private key', async () => {
    const { key } = await created();
    const text = await readFile(key, 'utf8');
    expect(text).not.toContain('PRIVATE KEY');
    expect(() => createPrivateKey(text)).toThrowError();
    const { sealed } = JSON.parse(text) as { sealed: string };
    const bytes = Buffer.from(sealed, 'base64');
    for (let from = 0; from < bytes.length; from += 1) {
      expect(() =>
        createPrivateKey({ key: bytes.subarray(from), format: 'der', type: 'pkcs8' }),
      ).toThrowError();
    }
  });

  it('is readable by its owner only, and is not used otherwise', async () => {
    const { options, key } = await created();
    expect((await stat(key)).mode & 0o777).toBe(0o600);
    for (const mode of [0o640, 0o604, 0o620, 0o602, 0o644]) {
      await chmod(key, mode);
      await expect(openAuthority(options)).rejects.toMatchObject({
        code: 'permissions_unsafe',
        hint: `chmod 600 ${key}`,
      });
    }
    await chmod(key, 0o600);
    await expect(openAuthority(options)).resolves.toBeDefined();
  });

  it('cannot be opened after a change of any byte of its seal', async () => {
    const { options, key } = await created();
    const file = JSON.parse(await readFile(key, 'utf8')) as { sealed: string };
    const sealed = Buffer.from(file.sealed, 'base64');
    for (const at of [8, 20, 36, sealed.length - 1]) {
      const changed = Buffer.from(sealed);
      changed[at] = (changed[at] ?? 0) ^ 1;
      await writeFile(key, JSON.stringify({ ...file, sealed: changed.toString('base64') }));
      await expect(openAuthority(options)).rejects.toMatchObject({
        code: 'record_tampered',
        message: `The CA key ${key} does not open: it was changed, or belongs to another CA.`,
      });
    }
  });

  it('cannot be opened with the certificate of another CA beside it, even under the same master key', async () => {
    const { options, key } = await created();
    const other = await openAuthority({ ...options, directory: await tempFolder() });
    const file = JSON.parse(await readFile(key, 'utf8')) as object;
    await writeFile(key, JSON.stringify({ ...file, certificate: other.certificatePem }));
    await expect(openAuthority(options)).rejects.toMatchObject({ code: 'record_tampered' });
  });

  it('cannot be reached from the opened CA, even by logging the CA', async () => {
    const { authority } = await created();
    const shown = inspect(authority, { depth: 10, showHidden: true }) + JSON.stringify(authority);
    expect(shown).not.toMatch(/PrivateKeyObject|KeyObject|PRIVATE KEY|"d":/);
  });

  it('is not used from a directory where every user could replace the certificate', async () => {
    const { options } = await created();
    await chmod(options.directory, 0o777);
    await expect(openAuthority(options)).rejects.toMatchObject({
      code: 'permissions_unsafe',
      hint: `chmod o-w ${options.directory}`,
    });
    await chmod(options.directory, 0o1777);
    await expect(openAuthority(options)).resolves.toBeDefined();
  });
});

describe('leaf certificates', () => {
  it('are valid for at most 45 days, at any time in the life of the CA', async () => {
    const authority = await freshAuthority();
    fc.assert(
      fc.property(fc.integer({ min: authority.notBefore, max: authority.notAfter - 1 }), (now) => {
        const { validFromDate, validToDate } = new X509Certificate(
          issueLeaf(authority, 'a.test', now).certificatePem,
        );
        // Both ends belong to the life of a certificate.
        expect(validToDate.getTime() + 1_000 - validFromDate.getTime()).toBeLessThanOrEqual(45 * dayMs);
        expect(validFromDate.getTime()).toBeLessThanOrEqual(now);
        expect(validFromDate.getTime()).toBeGreaterThanOrEqual(authority.notBefore);
        expect(validToDate.getTime()).toBeLessThanOrEqual(authority.notAfter);
      }),
    );
  });

  it.each(['evil.test', 'notacme.test', 'acme.test.evil.test', '192.0.2.1', '[::1]'])(
    'are not issued for %s by a CA that is permitted acme.test',
    async (host) => {
      const authority = await freshAuthority(['acme.test']);
      expect(() => issueLeaf(authority, host, Date.now())).toThrowError(
        expect.objectContaining({ code: 'domain_not_allowed', status: 403 }),
      );
    },
  );

  it.each([
    ['evil.test', ['acme.test']],
    ['192.0.2.1', ['acme.test']],
    ['[2001:db8::1]', ['acme.test']],
    ['evil.test', ['10.0.0.0/8']],
    ['192.0.2.1', ['10.0.0.0/8', 'acme.test']],
    ['[2001:db8::1]', ['10.0.0.0/8', 'acme.test']],
    ['192.0.2.1', ['fd00::/8']],
  ])(
    'for %s issued with the stolen key of a CA permitted %j are refused by clients',
    async (host, permitted) => {
      const authority = await freshAuthority(permitted);
      expect(await handshake(forged(authority, host), authority.certificatePem, host)).toMatch(
        /^(PERMITTED|EXCLUDED)_|^ERR_TLS|^UNSPECIFIED|^CERT_/,
      );
    },
  );

  it.skipIf(noOpenssl)('issued with a stolen key cannot sign further certificates (openssl)', async () => {
    const authority = await freshAuthority();
    const leaf = forged(authority, 'a.test');
    expect(await opensslVerify(leaf.cert, leaf.cert, 'a.test')).not.toContain('leaf: OK');
  });
});

describe('a host that would inject another name into the certificate', () => {
  const injections = [
    'a.test,DNS:evil.test',
    'a.test, DNS:evil.test',
    'a.test\0.evil.test',
    'a.test\nevil.test',
    'a.test\r\n',
    'a.test ',
    ' a.test',
    '*.test',
    '*.acme.test',
    '*',
    'a.*.test',
    'a.test.',
    '.a.test',
    'a..test',
    'A.test',
    'bücher.test',
    'а.test',
    'a.test:443',
    'user@a.test',
    'a.test/evil',
    'a.test?x',
    'a%2etest',
    '0x7f.1',
    '2130706433',
    '010.0.0.1',
    '127.1',
    '::1',
    '[::1',
    '[::0:1]',
    '[::1%25lo]',
    '[::ffff:127.0.0.1]',
    '',
    `${'a'.repeat(64)}.test`,
    `${'a.'.repeat(130)}test`,
  ];

  it.each(injections)('is refused: %j', async (host) => {
    const authority = await freshAuthority();
    expect(() => issueLeaf(authority, host, Date.now())).toThrowError(
      expect.objectContaining({ code: 'bad_request', status: 400 }),
    );
    const cache = createLeafCache({ authority: () => authority, now: Date.now });
    expect(() => cache.secureContextFor(host)).toThrowError(expect.objectContaining({ code: 'bad_request' }));
    expect(cache.size).toBe(0);
  });

  it('is refused, or becomes the only name in the certificate', async () => {
    const authority = await freshAuthority();
    const nasty = fc.string({
      unit: fc.constantFrom(...Array.from('aA1-_.*:,[]\0\n%@/ é')),
      minLength: 1,
      maxLength: 12,
    });
    const host = fc.oneof(
      nasty,
      fc.domain(),
      fc.ipV4(),
      fc.ipV6().map((text) => `[${text}]`),
    );
    fc.assert(
      fc.property(host, (asked) => {
        let pem: string;
        try {
          pem = issueLeaf(authority, asked, Date.now()).certificatePem;
        } catch (error) {
          expect(error).toMatchObject({ code: 'bad_request' });
          return;
        }
        const { subjectAltName } = new X509Certificate(pem);
        expect(subjectAltName).toMatch(/^(DNS|IP Address):[A-Za-z0-9._:-]+$/);
        if (subjectAltName?.startsWith('DNS:') === true) expect(subjectAltName).toBe(`DNS:${asked}`);
      }),
      { numRuns: 500 },
    );
  });
});
