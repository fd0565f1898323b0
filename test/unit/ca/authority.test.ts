import { generateKeyPairSync, sign, X509Certificate } from 'node:crypto';
import { existsSync, writeFileSync } from 'node:fs';
import { chmod, mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { openAuthority, type OpenAuthorityOptions, rewrapAuthority } from '../../../src/ca/authority.ts';
import {
  authorityExtensions,
  commonName,
  generalNameOf,
  keyIdentifier,
  leafExtensions,
  signCertificate,
} from '../../../src/ca/certificate.ts';
import { type Asn1 } from 'node-forge/lib/asn1.js';
import { issueLeaf } from '../../../src/ca/leaf-cache.ts';
import type { FailureCode } from '../../../src/lib/failures.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { handshake } from './ca-for-test.ts';
import { newMasterKey } from '../../../src/store/vault/key-source.ts';
import { createVault } from '../../../src/store/vault/vault.ts';
import { vaultForTest } from '../store/vault/vault-for-test.ts';

const dayMs = 86_400_000;
const isRoot = process.getuid?.() === 0;

/** Options of a CA in a folder that does not exist yet. */
async function setUp(): Promise<OpenAuthorityOptions & { crt: string; key: string }> {
  const directory = join(await tempFolder(), 'certs');
  return {
    directory,
    vault: vaultForTest(),
    permittedNames: [],
    now: Date.now,
    crt: join(directory, 'ca.crt'),
    key: join(directory, 'ca.key'),
  };
}

/** Creates a CA, as the first start does. */
async function setUpCreated(): Promise<Awaited<ReturnType<typeof setUp>>> {
  const options = await setUp();
  await openAuthority(options);
  return options;
}

/** Expects a failure that leaves the files unchanged; returns its code, message and hint. */
async function refusal(
  options: OpenAuthorityOptions,
): Promise<{ code: FailureCode; message: string; hint: string }> {
  const before = await contents(options.directory);
  const failure: unknown = await openAuthority(options).then(
    () => 'it opened',
    (error: unknown) => error,
  );
  expect(failure).toMatchObject({
    name: 'SidekeyError',
    message: expect.any(String),
    hint: expect.any(String),
  });
  expect(await contents(options.directory)).toEqual(before);
  return failure as Awaited<ReturnType<typeof refusal>>;
}

async function contents(directory: string): Promise<Record<string, string>> {
  const names = await readdir(directory).catch(() => []);
  const files = names.map(async (name): Promise<[string, string]> => {
    const path = join(directory, name);
    return [name, (await stat(path)).isFile() ? await readFile(path, 'latin1') : 'no file'];
  });
  return Object.fromEntries(await Promise.all(files));
}

async function modeOf(path: string): Promise<number> {
  return (await stat(path)).mode & 0o777;
}

/** Writes a key file with the given content, sealed by the vault of these options. */
async function writeKeyFile(
  options: OpenAuthorityOptions,
  certificate: X509Certificate,
  sealedText: Uint8Array,
): Promise<void> {
  const fingerprint = certificate.fingerprint256.replaceAll(':', '').toLowerCase();
  const sealed = Buffer.from(options.vault.seal(`ca/key/${fingerprint}`, sealedText)).toString('base64');
  await mkdir(options.directory, { recursive: true });
  await writeFile(
    join(options.directory, 'ca.key'),
    JSON.stringify({ format: 'sidekey-ca-key/1', certificate: certificate.toString(), sealed }),
    { mode: 0o600 },
  );
}

function selfSigned(
  extensions: readonly Asn1[],
  namedCurve: 'P-256' | 'P-384' = 'P-256',
): { certificate: X509Certificate; pkcs8: Buffer } {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const other = generateKeyPairSync('ec', { namedCurve });
  const subject = commonName('Test');
  const certificate = new X509Certificate(
    signCertificate({
      issuer: {
        name: subject,
        keyIdentifier: keyIdentifier(publicKey),
        sign: (data) => sign('sha256', data, namedCurve === 'P-256' ? privateKey : other.privateKey),
      },
      subject,
      notBefore: Date.now() - dayMs,
      notAfter: Date.now() + dayMs,
      publicKey,
      extensions,
    }),
  );
  return { certificate, pkcs8: privateKey.export({ type: 'pkcs8', format: 'der' }) };
}

describe('the first start', () => {
  it('creates a CA with a unique name, valid from one day ago for ten years', async () => {
    const now = Date.UTC(2027, 0, 1);
    const [one, two] = await Promise.all(
      [await setUp(), await setUp()].map(async (options) => openAuthority({ ...options, now: () => now })),
    );
    expect(one?.name).toMatch(/^Sidekey CA [0-9a-f]{8}$/);
    expect(two?.name).not.toBe(one?.name);
    expect(one?.notBefore).toBe(now - dayMs);
    expect(one?.notAfter).toBe(now + 3_650 * dayMs);
  });

  it('writes the certificate readable for everybody, the key for this user only, and no other file', async () => {
    const { directory, crt, key, ...options } = await setUp();
    const umask = process.umask(0o077);
    const authority = await openAuthority({ directory, ...options }).finally(() => process.umask(umask));
    expect((await readdir(directory)).toSorted()).toEqual(['ca.crt', 'ca.key']);
    expect(await modeOf(crt)).toBe(0o644);
    expect(await modeOf(key)).toBe(0o600);
    expect(await readFile(crt, 'utf8')).toBe(authority.certificatePem);
    expect(authority.certificateFile).toBe(crt);
  });

  it('creates the folder for this user only', async () => {
    const options = await setUp();
    const umask = process.umask(0o022);
    await openAuthority(options).finally(() => process.umask(umask));
    expect(await modeOf(options.directory)).toBe(0o700);
  });

  it('leaves an existing folder unchanged', async () => {
    const options = await setUp();
    await mkdir(options.directory);
    await chmod(options.directory, 0o755);
    await writeFile(join(options.directory, 'README.md'), 'mine');
    await openAuthority(options);
    expect(await modeOf(options.directory)).toBe(0o755);
    expect(await readFile(join(options.directory, 'README.md'), 'utf8')).toBe('mine');
  });

  it('reports the new CA once, after it is written', async () => {
    const options = await setUp();
    const onCreate = vi.fn(() => expect(existsSync(options.crt)).toBe(true));
    const created = await openAuthority({ ...options, onCreate });
    await openAuthority({ ...options, onCreate });
    expect(onCreate.mock.calls).toEqual([[created]]);
  });

  it('creates one CA with concurrent starts', async () => {
    const options = await setUp();
    const onCreate = vi.fn();
    const all = await Promise.all(
      Array.from({ length: 8 }, async () => openAuthority({ ...options, onCreate })),
    );
    expect(new Set(all.map((authority) => authority.fingerprint)).size).toBe(1);
    expect(onCreate).toHaveBeenCalledTimes(1);
    expect((await readdir(options.directory)).toSorted()).toEqual(['ca.crt', 'ca.key']);
  });

  it('creates and opens a CA with the key of a rotation that began after the vault was opened', async () => {
    const options = await setUp();
    const [before, after] = [vaultForTest(), options.vault];
    const stale = () => {
      let current: typeof after = before;
      return {
        refresh: async () => void (current = after),
        rewrap: () => null,
        open: (context: string, sealed: Uint8Array) => current.open(context, sealed),
        seal: (context: string, plaintext: Uint8Array) => current.seal(context, plaintext),
      };
    };
    const { fingerprint } = await openAuthority({ ...options, vault: stale() });
    expect((await openAuthority(options)).fingerprint).toBe(fingerprint);
    expect((await openAuthority({ ...options, vault: stale() })).fingerprint).toBe(fingerprint);
  });

  it('opens a CA that was sealed with a retired key, and seals it again with the current key', async () => {
    const [before, after] = [newMasterKey(), newMasterKey()];
    const options = await setUp();
    const { fingerprint } = await openAuthority({ ...options, vault: createVault(before) });
    const vault = createVault(
      [
        { master: after, since: 0, retiredAt: null },
        { master: before, since: null, retiredAt: 0 },
      ],
      { now: () => 30 * dayMs },
    );
    expect((await openAuthority({ ...options, vault })).fingerprint).toBe(fingerprint);
    expect(await rewrapAuthority(options.directory, vault)).toBe(true);
    expect(await rewrapAuthority(options.directory, vault)).toBe(false);
    expect((await openAuthority({ ...options, vault: createVault(after) })).fingerprint).toBe(fingerprint);
  });

  it('uses the CA that another process wrote first', async () => {
    const other = await setUpCreated();
    const winner = await openAuthority(other);
    const keyText = await readFile(other.key, 'utf8');
    const options = await setUp();
    await mkdir(options.directory);
    const onCreate = vi.fn();
    const authority = await openAuthority({
      ...options,
      onCreate,
      vault: {
        refresh: async () => {},
        rewrap: () => null,
        open: (context, sealed) => other.vault.open(context, sealed),
        seal(context, plaintext) {
          writeFileSync(options.key, keyText, { mode: 0o600 });
          return other.vault.seal(context, plaintext);
        },
      },
    });
    expect(authority.fingerprint).toBe(winner.fingerprint);
    expect(onCreate).not.toHaveBeenCalled();
    expect(await readFile(options.key, 'utf8')).toBe(keyText);
  });

  it('is refused when the system clock is not set', async () => {
    const options = await setUp();
    expect(await refusal({ ...options, now: () => 0 })).toMatchObject({
      code: 'clock_wrong',
      message: "This machine's clock says 1970-01-01T00:00:00.000Z: no CA is made on that date.",
    });
  });

  it('is refused when the folder cannot be created', async () => {
    const options = await setUp();
    const file = join(await tempFolder(), 'file');
    await writeFile(file, 'a file');
    const failure = await refusal({ ...options, directory: join(file, 'certs') });
    expect(failure.code).toBe('file_unwritable');
    expect(failure.message).toContain('ENOTDIR');
    expect(failure.hint).toContain(join(file, 'certs'));
  });

  it.skipIf(isRoot)('is refused when the folder cannot be written (not as root)', async () => {
    const options = await setUp();
    await mkdir(options.directory, { mode: 0o500 });
    expect(await refusal(options)).toMatchObject({ code: 'file_unwritable' });
  });

  it('is refused with an invalid permitted name', async () => {
    const options = await setUp();
    expect(await refusal({ ...options, permittedNames: ['*.acme.test'] })).toMatchObject({
      code: 'config_invalid',
    });
    expect(existsSync(options.directory)).toBe(false);
  });
});

describe('a later start', () => {
  it('opens the same CA, and its leaves verify with the certificate on disk', async () => {
    const options = { ...(await setUp()), permittedNames: ['acme.test', '127.0.0.0/8'] };
    const created = await openAuthority(options);
    const opened = await openAuthority({ ...options, permittedNames: options.permittedNames.toReversed() });
    expect({ ...opened, issuer: null }).toEqual({ ...created, issuer: null });
    const leaf = issueLeaf(opened, 'api.acme.test', Date.now());
    const onDisk = await readFile(options.crt, 'utf8');
    expect(await handshake(leaf.secureContextOptions, onDisk, 'api.acme.test')).toBe('TLSv1.3');
  });

  it('works after 2050', async () => {
    const options = { ...(await setUp()), now: () => Date.UTC(2049, 5, 1) };
    await openAuthority(options);
    const authority = await openAuthority({ ...options, now: () => Date.UTC(2055, 5, 1) });
    const leaf = issueLeaf(authority, 'a.test', Date.UTC(2055, 5, 1));
    expect(new X509Certificate(leaf.certificatePem).validToDate.getTime()).toBe(leaf.notAfter);
    expect(leaf.notAfter).toBe(Date.UTC(2055, 5, 1) + 44 * dayMs - 1_000);
  });

  it('completes a first start that crashed between key and certificate', async () => {
    const options = await setUpCreated();
    const before = await contents(options.directory);
    await rm(options.crt);
    const onCreate = vi.fn();
    await openAuthority({ ...options, onCreate });
    expect(await contents(options.directory)).toEqual(before);
    expect(onCreate).not.toHaveBeenCalled();
  });

  it('refuses a certificate without its key', async () => {
    const options = await setUpCreated();
    await rm(options.key);
    const failure = await refusal(options);
    expect(failure).toMatchObject({
      code: 'ca_mismatch',
      message: `${options.crt} is there, but its key ${options.key} is not.`,
    });
    expect(failure.hint).toContain(`move ${options.crt} and ${options.key} away`);
  });

  it('refuses the certificate of another CA', async () => {
    const [options, other] = [await setUpCreated(), await setUpCreated()];
    await writeFile(options.crt, await readFile(other.crt));
    expect(await refusal(options)).toMatchObject({
      code: 'ca_mismatch',
      message: `${options.crt} is not the certificate of ${options.key}.`,
    });
  });

  it.each([
    ['ca.crt', ''],
    ['ca.crt', 'garbage'],
    ['ca.crt', '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n'],
    ['ca.key', ''],
    ['ca.key', 'garbage'],
    ['ca.key', 'null'],
    ['ca.key', '[]'],
    ['ca.key', '{"format":"sidekey-ca-key/2"}'],
    ['ca.key', '{"format":"sidekey-ca-key/1","certificate":1,"sealed":"AAAA"}'],
    ['ca.key', '{"format":"sidekey-ca-key/1","certificate":"x","sealed":"AAAA"}'],
  ])('refuses a %s that contains %j, and names the file', async (name, text) => {
    const options = await setUpCreated();
    await writeFile(join(options.directory, name), text);
    const failure = await refusal(options);
    expect(failure.code).toBe('ca_mismatch');
    expect(failure.message).toContain(join(options.directory, name));
    expect(failure.hint).toContain('Restore');
  });

  it('refuses a key file that is truncated or has invalid sealed text', async () => {
    const options = await setUpCreated();
    const text = await readFile(options.key, 'utf8');
    await writeFile(options.key, text.slice(0, -200));
    expect(await refusal(options)).toMatchObject({ code: 'ca_mismatch' });
    await writeFile(options.key, text.replace(/"sealed": "[^"]*"/, '"sealed": "-"'));
    expect(await refusal(options)).toMatchObject({ code: 'ca_mismatch' });
  });

  it('refuses a key file of another format version', async () => {
    const options = await setUpCreated();
    const text = await readFile(options.key, 'utf8');
    await writeFile(options.key, text.replace('sidekey-ca-key/1', 'sidekey-ca-key/2'));
    expect(await refusal(options)).toMatchObject({
      code: 'ca_mismatch',
      message: `${options.key} is not a CA key that can be read.`,
    });
  });

  it('refuses a folder at the path of a file', async () => {
    const options = await setUpCreated();
    await rm(options.key);
    await mkdir(options.key, { mode: 0o700 });
    expect(await refusal(options)).toMatchObject({ code: 'ca_mismatch' });
  });

  it('refuses a key sealed with another master key, and the hint says how to recover', async () => {
    const options = await setUpCreated();
    const failure = await refusal({ ...options, vault: vaultForTest() });
    expect(failure).toMatchObject({
      code: 'key_mismatch',
      message: `The CA key ${options.key} was sealed by another master key.`,
    });
    expect(failure.hint).toContain('Start with the master key that made it');
  });

  it('refuses a sealed key that does not match its certificate', async () => {
    const options = await setUp();
    const extensions = authorityExtensions([]);
    await writeKeyFile(options, selfSigned(extensions).certificate, selfSigned(extensions).pkcs8);
    expect(await refusal(options)).toMatchObject({
      code: 'ca_mismatch',
      message: `The key in ${options.key} does not belong to its certificate.`,
    });
  });

  it('refuses sealed data that is not a key', async () => {
    const options = await setUp();
    await writeKeyFile(options, selfSigned(authorityExtensions([])).certificate, Buffer.from('no key'));
    expect(await refusal(options)).toMatchObject({ code: 'ca_mismatch' });
  });

  it('refuses a certificate that is not a CA certificate, or is not self-signed', async () => {
    const notOfCa = selfSigned(leafExtensions(generalNameOf('a.test')));
    const notItsOwn = selfSigned(authorityExtensions([]), 'P-384');
    for (const { certificate, pkcs8 } of [notOfCa, notItsOwn]) {
      const options = await setUp();
      await writeKeyFile(options, certificate, pkcs8);
      expect(await refusal(options)).toMatchObject({
        code: 'ca_mismatch',
        message: `The certificate in ${options.key} is not that of a CA.`,
      });
    }
  });

  it('refuses a CA whose lifetime begins in the future', async () => {
    const options = await setUpCreated();
    expect(await refusal({ ...options, now: () => Date.UTC(2025, 5, 1) })).toMatchObject({
      code: 'clock_wrong',
      message: expect.stringContaining('clock says 2025-06-01T00:00:00.000Z'),
    });
  });

  it('refuses an expired CA', async () => {
    const options = await setUpCreated();
    expect(await refusal({ ...options, now: () => Date.now() + 3_651 * dayMs })).toMatchObject({
      code: 'ca_mismatch',
      message: expect.stringContaining('ended on'),
    });
  });

  it.each([
    [['acme.test'], ['acme.test', 'b.test'], 'Set ca.permitted_names to [acme.test], or move'],
    [['acme.test'], [], 'Set ca.permitted_names to [acme.test], or move'],
    [[], ['acme.test'], 'Set ca.permitted_names to [], or move'],
  ])('refuses a CA made for %j when the config permits %j', async (made, asked, hint) => {
    const options = await setUp();
    await openAuthority({ ...options, permittedNames: made });
    const failure = await refusal({ ...options, permittedNames: asked });
    expect(failure.code).toBe('ca_mismatch');
    expect(failure.hint).toContain(hint);
  });
});
