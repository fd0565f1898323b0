import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { cp, mkdir, realpath } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type Home, home, program } from '../../support/command-line.ts';
import { begin } from '../../support/connect-home.ts';
import { tempFolder } from '../../support/temp-folder.ts';

const has = (name: string) => spawnSync('sh', ['-c', `command -v ${name}`]).status === 0;
const sqlStore = (folder: string) => ['-d', `sql:${folder}`];

/** A home with a CA, and the folder of a user without trust stores. */
async function place(config: object = {}) {
  const at = await home({ proxy: { listen: '127.0.0.1:0' }, ...config });
  expect(await at.program(['run', '--config', at.configFile, '--quiet', '--', 'true'])).toMatchObject({
    exit: 0,
  });
  return { at, user: await tempFolder() };
}

const change = (at: Home, words: readonly string[], env: Readonly<Record<string, string>>) =>
  at.program(['ca', ...words], { env });

describe.skipIf(!has('certutil'))('the trust store of browsers (certutil)', () => {
  test('gets the CA once, and uninstall removes only the CA', async () => {
    const { at, user } = await place();
    const folder = join(user, '.mozilla', 'firefox', 'a.default');
    await mkdir(folder, { recursive: true });
    execFileSync('certutil', [...sqlStore(folder), '-N', '--empty-password']);
    const nicknames = () =>
      [join(user, '.pki', 'nssdb'), folder].map((store) =>
        execFileSync('certutil', [...sqlStore(store), '-L'], { encoding: 'utf8' }).match(/sidekey-\S+ +\S+/g),
      );
    const words = ['--store', 'browsers', '--yes'];
    const first = await change(at, ['install', ...words], { HOME: user });
    expect(first.exit).toBe(0);
    expect(first.stdout).toMatch(/^Installed in Chromium \(.*\nInstalled in Firefox \(/);
    expect(first.stderr).toContain(
      `Risk: programs that use these stores will trust certificates of this CA for any host. Its key is ${at.at('certs', 'ca.key')} (mode 0600, encrypted).`,
    );
    const entry = [expect.stringMatching(/^sidekey-[0-9a-f]{16} +C,,$/)];
    expect(nicknames()).toEqual([entry, entry]);
    const again = await change(at, ['install', ...words], { HOME: user });
    expect(again).toMatchObject({ exit: 0, stdout: expect.stringMatching(/^Already installed in Chromium/) });
    expect(nicknames()).toEqual([entry, entry]);
    expect(await change(at, ['uninstall', ...words], { HOME: user })).toMatchObject({ exit: 0 });
    expect(nicknames()).toEqual([null, null]);
    expect(await change(at, ['uninstall', ...words], { HOME: user })).toMatchObject({
      exit: 0,
      stdout: expect.stringMatching(/^Not installed in Chromium/),
    });
  });

  test('is unchanged after the answer no, which is not an error', async () => {
    const { at, user } = await place();
    const words = ['ca', 'install', '--store', 'browsers', '--config', at.configFile];
    const command = begin(words, at.folder, {
      terminal: true,
      env: { HOME: user, PATH: process.env['PATH'] ?? '' },
    });
    await command.said('Continue?');
    command.stdin.write('n\n');
    const { exit, stderr } = await command.done;
    expect([exit, stderr]).toEqual([1, expect.stringMatching(/Nothing was changed\.\n$/)]);
    expect(existsSync(join(user, '.pki'))).toBe(false);
  });

  test('is unchanged without --yes if there is no terminal', async () => {
    const { at, user } = await place({ ca: { permitted_names: ['corp.test'] } });
    const ran = await change(at, ['install', '--store', 'browsers'], { HOME: user });
    expect(ran).toMatchObject({ exit: 2, stdout: '', stderr: expect.stringContaining('ca install --yes') });
    expect(ran.stderr).toContain('trust certificates of this CA for only corp.test');
    expect(existsSync(join(user, '.pki'))).toBe(false);
  });
});

const java = has('keytool') && has('java');

describe.skipIf(!java)('the trust store of Java (keytool)', () => {
  test('gets the CA, and uninstall keeps the earlier entries', async () => {
    const { at, user } = await place();
    const jdk = dirname(
      dirname(await realpath(execFileSync('which', ['java'], { encoding: 'utf8' }).trim())),
    );
    const cacerts = join(user, 'jdk', 'lib', 'security', 'cacerts');
    await mkdir(dirname(cacerts), { recursive: true });
    await cp(await realpath(join(jdk, 'lib', 'security', 'cacerts')), cacerts);
    const entries = () =>
      execFileSync('keytool', ['-list', '-keystore', cacerts, '-storepass', 'changeit'], {
        encoding: 'utf8',
        stdio: 'pipe',
      })
        .split('\n')
        .toSorted();
    const before = entries();
    const env = { HOME: user, JAVA_HOME: join(user, 'jdk') };
    const words = ['--store', 'java', '--yes'];
    expect(await change(at, ['install', ...words], env)).toMatchObject({
      exit: 0,
      stdout: `Installed in Java (${cacerts}).\n`,
    });
    expect(entries().join('\n')).toMatch(/sidekey-[0-9a-f]{16}, .*trustedCertEntry/);
    expect(await change(at, ['uninstall', ...words], env)).toMatchObject({ exit: 0 });
    expect(entries()).toEqual(before);
  });
});

const isRoot = process.getuid?.() === 0;
// In a user namespace this user is root of its own mounts.
const canMount = spawnSync('unshare', ['-Urm', 'mount', '-t', 'tmpfs', 'none', '/mnt']).status === 0;

/** Runs a script with a copy of the system's store, which only this script sees. */
async function withOwnSystemStore(script: string): Promise<string> {
  const copy = await tempFolder();
  const lines = ['/usr/local/share/ca-certificates', '/etc/ssl/certs'].map(
    (folder, index) => `cp -dR ${folder} ${copy}/${index} && mount --bind ${copy}/${index} ${folder}`,
  );
  const all = ['set -e', ...lines, 'mount -t tmpfs none /etc/ca-certificates/update.d', script].join('\n');
  return execFileSync('unshare', ['-Urm', 'sh', '-c', all], { encoding: 'utf8', stdio: 'pipe' });
}

describe.skipIf(!canMount || !has('update-ca-certificates'))(
  'the trust store of the system (unshare, update-ca-certificates)',
  () => {
    test(
      'gets the CA for openssl, and uninstall restores bundle and links',
      { timeout: 60_000 },
      async () => {
        const { at } = await place();
        const sidekey = `'${process.execPath}' '${program}' ca`;
        const options = `--store system --yes --config '${at.configFile}' 2>/dev/null`;
        const look =
          'ls /etc/ssl/certs /usr/local/share/ca-certificates; md5sum /etc/ssl/certs/ca-certificates.crt';
        const shown = await withOwnSystemStore(
          [
            'update-ca-certificates --fresh >/dev/null 2>&1',
            `before=$(${look})`,
            `${sidekey} install ${options}`,
            `openssl verify -CApath /etc/ssl/certs '${at.at('certs', 'ca.crt')}'`,
            `grep -c "$(sed -n 2p '${at.at('certs', 'ca.crt')}')" /etc/ssl/certs/ca-certificates.crt`,
            `${sidekey} uninstall ${options}`,
            `[ "$before" = "$(${look})" ] && echo restored`,
          ].join('\n'),
        );
        expect(shown).toMatch(
          /^Installed in the system's store \(\S+\)\.\n\S+ca\.crt: OK\n1\nRemoved from the system's store \(\S+\)\.\nrestored\n$/,
        );
      },
    );
  },
);

const canSwitch = (!isRoot || has('setpriv')) && has('update-ca-certificates');

test.skipIf(!canSwitch)(
  'a trust store of root is unchanged for other users, and the command with sudo is printed (setpriv)',
  async () => {
    const { at, user } = await place();
    if (isRoot) execFileSync('chown', ['-R', '65534:65534', at.folder, user]);
    const other = isRoot ? ['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups'] : [];
    const [first, ...words] = [...other, process.execPath, program, 'ca', 'install'];
    const ran = spawnSync(first, [...words, '--store', 'system', '--yes'], {
      cwd: at.folder,
      env: { PATH: process.env['PATH'], HOME: user, SIDEKEY_CONFIG: at.configFile },
      encoding: 'utf8',
    });
    expect(ran).toMatchObject({
      status: 1,
      stdout: expect.stringMatching(
        /^Not changed: the system's store \(\S+\) belongs to root\. Run:\n  sudo install -m 644 \S+ca\.crt \S+\.crt && sudo \S+update-ca-certificates\n$/,
      ),
    });
  },
);

test('uninstall without a CA has nothing to do', async () => {
  const at = await home();
  expect(await at.run(['ca', 'uninstall', '--yes'])).toMatchObject({
    exit: 0,
    stdout: 'There is no CA yet. Nothing was changed.\n',
  });
});

test('an unknown kind of trust store is refused', async () => {
  const { at, user } = await place();
  expect(await change(at, ['install', '--store', 'chrome'], { HOME: user })).toMatchObject({
    exit: 2,
    stderr: 'sidekey: Unknown store "chrome".\n  → one of system, browsers, java\n',
  });
});
