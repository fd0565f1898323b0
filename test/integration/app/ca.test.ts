import { execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import forge from 'node-forge';
import { describe, expect, test } from 'vitest';
import { home, type Home } from '../../support/command-line.ts';

async function homeWithCa(): Promise<Home> {
  const at = await home();
  await (await at.start()).stop();
  return at;
}

/** Reports whether a PKCS#12 store opens with this password. */
async function opens(file: string, password: string): Promise<boolean> {
  const der = forge.util.createBuffer((await readFile(file)).toString('latin1'));
  return forge.pkcs12.pkcs12FromAsn1(forge.asn1.fromDer(der), password) !== null;
}

describe('the CA managed with sidekey ca', () => {
  test('is created only by the first start', async () => {
    const at = await home();
    for (const args of [
      ['ca', 'show'],
      ['ca', 'export'],
    ]) {
      expect(await at.run(args)).toMatchObject({
        exit: 2,
        stdout: '',
        stderr: expect.stringMatching(
          /^sidekey: There is no CA in .+certs yet\.\n {2}→ sidekey start creates it\n$/,
        ),
      });
    }
  });

  test('is shown with the fingerprint that openssl prints', async () => {
    const at = await homeWithCa();
    const certificate = new X509Certificate(await readFile(at.at('certs', 'ca.crt')));
    const { stdout } = await at.run(['ca', 'show']);
    expect(stdout).toContain(certificate.fingerprint256);
    expect(stdout).toMatch(/^Sidekey CA [0-9a-f]{8}\n/);
    expect(await at.json(['ca', 'show'])).toMatchObject({
      fingerprint_sha256: certificate.fingerprint256.replaceAll(':', '').toLowerCase(),
      permitted_names: [],
    });
  });

  test('is exported with the files for all programs, for containers of other users', async () => {
    const at = await homeWithCa();
    const folder = at.at('trust');
    expect(await at.run(['ca', 'export', '--format', 'folder'])).toMatchObject({
      exit: 2,
      stderr: expect.stringContaining('The format folder needs --output.'),
    });
    for (let time = 0; time < 2; time += 1) {
      const { exit, stdout } = await at.run(['ca', 'export', '--format', 'folder', '--output', folder]);
      expect([exit, stdout]).toEqual([0, `Wrote the files of all programs into ${folder}.\n`]);
    }
    const variables = await readFile(join(folder, 'env.sh'), 'utf8');
    expect(variables).toContain(`export SSL_CERT_FILE='${folder}/bundle.pem'\n`);
    expect(variables).toContain(`-Djavax.net.ssl.trustStore=${folder}/java.p12`);
    expect(variables).not.toMatch(/s_proxy=|http_proxy=|PROXY=http|proxyHost|nonProxy/);
    for (const name of await readdir(folder, { recursive: true }))
      expect([name, (await stat(join(folder, name))).mode & 0o004]).toEqual([name, 0o004]);
    expect((await stat(folder)).mode & 0o777).toBe(0o755);
    expect(await opens(join(folder, 'java.p12'), 'changeit')).toBe(true);
  });

  test('is exported with a NO_PROXY that has the proxy of the shell', async () => {
    const at = await homeWithCa();
    const folder = at.at('trust');
    await at.run(['ca', 'export', '--format', 'folder', '--output', folder]);
    const loopback = 'localhost,127.0.0.1,::1';
    const noProxy = (env: Readonly<Record<string, string>>) =>
      execFileSync('sh', ['-euc', `. ${folder}/env.sh; echo "$NO_PROXY $no_proxy"`], {
        env,
        encoding: 'utf8',
      });
    for (const [env, added] of [
      [{}, ''],
      [{ HTTPS_PROXY: 'http://sidekey:8377' }, ',sidekey:8377'],
      [{ https_proxy: 'http://agent:to/ken@proxy.example:8377/' }, ',proxy.example:8377'],
      [{ HTTPS_PROXY: 'https://agent:token@[::1]:8377' }, ',::1'],
      [{ HTTPS_PROXY: 'sidekey:8377' }, ',sidekey:8377'],
    ] as const)
      expect(noProxy(env)).toBe(`${loopback}${added} ${loopback}${added}\n`);
    expect(noProxy({ NO_PROXY: 'corp.example' })).toBe(`corp.example,${loopback} ${loopback}\n`);
  });

  test('of another Sidekey can be exported from its file, without a Sidekey folder', async () => {
    const at = await homeWithCa();
    const other = await home();
    const folder = other.at('trust');
    const args = ['ca', 'export', '--format', 'folder', '--output', folder, '--ca'];
    expect(await other.run([...args, at.at('certs', 'ca.crt')])).toMatchObject({ exit: 0 });
    const pem = await readFile(at.at('certs', 'ca.crt'), 'utf8');
    expect(await readFile(join(folder, 'ca.pem'), 'utf8')).toBe(pem);
    expect(await other.run([...args, other.configFile])).toMatchObject({
      exit: 2,
      stderr: expect.stringContaining('has no certificate that can be read'),
    });
  });

  test('can be exported by itself, with the system roots, and for Java', async () => {
    const at = await homeWithCa();
    const pem = await readFile(at.at('certs', 'ca.crt'), 'utf8');
    expect(await at.run(['ca', 'export'])).toEqual({ exit: 0, stdout: pem, stderr: '' });

    const bundle = at.at('bundle.pem');
    const wrote = await at.run(['ca', 'export', '--format', 'bundle', '--output', bundle]);
    expect(wrote).toMatchObject({ exit: 0, stdout: `Wrote ${bundle}.\n` });
    const text = await readFile(bundle, 'utf8');
    expect(text.startsWith(pem.trim())).toBe(true);
    expect(text.match(/BEGIN CERTIFICATE/g)?.length).toBeGreaterThan(50);
    expect((await stat(bundle)).mode & 0o777).toBe(0o644);

    await at.run(['ca', 'export', '--format', 'p12', '--output', at.at('a.p12')]);
    expect(await opens(at.at('a.p12'), 'changeit')).toBe(true);
    await at.run(['ca', 'export', '--format', 'p12', '--output', at.at('b.p12')], {
      env: { SIDEKEY_P12_PASSWORD: 'from the environment' },
    });
    expect(await opens(at.at('b.p12'), 'from the environment')).toBe(true);
    await writeFile(at.at('password'), 'from a file\n');
    await at.run([
      'ca',
      'export',
      '--format',
      'p12',
      '--output',
      at.at('c.p12'),
      '--password-file',
      at.at('password'),
    ]);
    expect(await opens(at.at('c.p12'), 'from a file')).toBe(true);
  });

  test('replaces an existing file only with --force', async () => {
    const at = await homeWithCa();
    const file = at.at('ca.crt');
    await writeFile(file, 'mine');
    const to = ['ca', 'export', '--output', file];
    expect(await at.run(to)).toMatchObject({
      exit: 2,
      stderr: `sidekey: ${file} exists.\n  → give another path, or --force to replace the file\n`,
    });
    expect(await readFile(file, 'utf8')).toBe('mine');
    expect(await at.run([...to, '--force'])).toMatchObject({ exit: 0 });
    expect(await readFile(file, 'utf8')).toMatch(/^-----BEGIN CERTIFICATE-----/);
  });

  test('is not exported to an unusable destination', async () => {
    const at = await homeWithCa();
    const run = (...args: string[]) => at.run(['ca', 'export', ...args]);
    expect(await run('--format', 'jks')).toMatchObject({
      exit: 2,
      stderr: expect.stringContaining('The format is not pem, bundle, p12 or folder.'),
    });
    expect(await run('--output', at.at('nowhere', 'x.pem'))).toMatchObject({
      exit: 1,
      stderr: expect.stringContaining('cannot be written (ENOENT)'),
    });
    expect(
      await run('--format', 'p12', '--output', at.at('x.p12'), '--password-file', at.at('nothing')),
    ).toMatchObject({ exit: 2, stderr: expect.stringContaining('cannot be read (ENOENT)') });
  });
});
