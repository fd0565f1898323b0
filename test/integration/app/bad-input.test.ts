import { chmod, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { DatabaseSync } from 'node:sqlite';
import { describe, expect, onTestFinished, test } from 'vitest';
import { spawnSync } from 'node:child_process';
import { home, type Home, program, type RunOptions } from '../../support/command-line.ts';

interface Expected {
  readonly exit: number;
  /** The problem and its place. */
  readonly says: string | RegExp;
  /** The next step. */
  readonly hint: string | RegExp;
}

/** One sentence with the problem and its place, one line with the next step, and no change on disk. */
async function expectRefusal(
  { program, run, everything }: Home,
  args: readonly string[],
  { exit, says, hint }: Expected,
  options?: RunOptions,
): Promise<void> {
  const before = await everything();
  // A start that is not refused would go on serving, so it gets a process of its own.
  const refused = args[0] === 'start' ? program : run;
  const [ran, told] = await Promise.all([refused(args, options), refused([...args, '--json'], options)]);
  const [message = '', way = '', ...more] = ran.stderr.split('\n');
  expect(message).toMatch(/^sidekey: .+[.?]$/);
  expect(message).toMatch(says);
  expect(way).toMatch(/^ {2}→ /);
  expect(way).toMatch(hint);
  expect(more).toEqual(['']);
  expect(ran).toMatchObject({ exit, stdout: '' });
  expect(JSON.parse(told.stderr)).toEqual({
    error: { code: expect.any(String), message: expect.any(String), hint: expect.any(String) },
  });
  expect(told).toMatchObject({ exit, stdout: '' });
  expect(await everything()).toEqual(before);
}

const addAcme = ['grant', 'import', 'acme', '--provider', 'acme'];
const oauth = { access_token: 'access-secret', refresh_token: 'refresh-secret', expires_in: 3600 };

describe('invalid input is refused with a message and a hint, and changes nothing', () => {
  test('JSON that is cut off', async () => {
    const input = '{"access_token": "tok-secret-1",\n  "refresh_token": "tok-sec';
    const at = await home();
    await expectRefusal(
      at,
      addAcme,
      {
        exit: 2,
        says: /not valid JSON: .+ \(line 2, column \d+\)/,
        hint: 'sidekey grant import --help',
      },
      { input },
    );
    expect((await at.program(addAcme, { input })).stderr).not.toContain('tok-sec');
  });

  test('nothing on standard input', async () => {
    await expectRefusal(await home(), addAcme, { exit: 2, says: 'input is empty', hint: '"access_token"' });
  });

  test('an unknown provider', async () => {
    await expectRefusal(
      await home(),
      ['grant', 'import', 'work', '--provider', 'githib'],
      { exit: 2, says: 'There is no provider githib; did you mean github?', hint: 'sidekey provider list' },
      { input: JSON.stringify(oauth) },
    );
  });

  test('a control character in a token', async () => {
    await expectRefusal(
      await home(),
      addAcme,
      { exit: 2, says: /"access_token" holds a control character/, hint: '"access_token":"…"' },
      { input: JSON.stringify({ ...oauth, access_token: 'tok\r\nX-Evil: 1' }) },
    );
  });

  test('an existing grant', async () => {
    const at = await home();
    await at.grant('acme', oauth);
    const before = await readFile(at.at('data', 'sidekey.db'));
    const ran = await at.program(addAcme, { input: JSON.stringify(oauth) });
    expect(ran).toMatchObject({ exit: 2, stdout: '' });
    expect(ran.stderr).toMatch(
      /There is a grant acme already\.\n {2}→ sidekey grant import acme .+ --replace/,
    );
    expect((await readFile(at.at('data', 'sidekey.db'))).equals(before)).toBe(true);
  });

  test('a port in use', async () => {
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void other.close());
    const { port } = other.address() as AddressInfo;
    const at = await home({ proxy: { listen: `127.0.0.1:${port}` } });
    const ran = await at.program(['start']);
    expect(ran).toMatchObject({ exit: 1, stdout: '' });
    expect(ran.stderr).toBe(
      `sidekey: 127.0.0.1:${port} is in use by another program.\n  → stop it, or set proxy.listen to another port\n`,
    );
  });

  test.skipIf(process.getuid?.() === 0)('a folder that cannot be written', async () => {
    const at = await home();
    await mkdir(at.at('data'), { mode: 0o500 });
    await expectRefusal(
      at,
      addAcme,
      {
        exit: 1,
        says: /The store needs to write to .+data/,
        hint: 'writable for the user that runs Sidekey',
      },
      { input: JSON.stringify(oauth) },
    );
  });

  test('a file where a folder is expected', async () => {
    const at = await home();
    await writeFile(at.at('data'), 'not a folder');
    await expectRefusal(
      at,
      addAcme,
      { exit: 1, says: /needs to write to .+data/, hint: 'set another "store"' },
      { input: JSON.stringify(oauth) },
    );
  });

  test('a world-readable master key', async () => {
    const at = await home();
    await at.grant('acme', oauth);
    await chmod(at.at('data', 'master.key'), 0o644);
    await expectRefusal(at, ['grant', 'show', 'acme'], {
      exit: 2,
      says: /The key file .+master\.key can be used by other users\./,
      hint: /chmod 600 .+master\.key/,
    });
    await expectRefusal(at, ['grant', 'revoke', 'acme'], {
      exit: 2,
      says: 'can be used by other users',
      hint: 'chmod 600',
    });
  });

  test('a world-writable folder', async () => {
    const at = await home();
    await at.grant('acme', oauth);
    await chmod(at.at('data'), 0o777);
    await expectRefusal(at, ['grant', 'list'], {
      exit: 2,
      says: /Every user can write to .+data/,
      hint: /chmod 700 .+data/,
    });
  });

  test('a missing master key for an existing store', async () => {
    const at = await home();
    await at.grant('acme', oauth);
    await rm(at.at('data', 'master.key'));
    await expectRefusal(
      at,
      ['grant', 'import', 'other', '--provider', 'acme'],
      { exit: 2, says: /The key file .+master\.key is missing/, hint: 'from your backup' },
      { input: JSON.stringify(oauth) },
    );
  });

  test('a master key of another store', async () => {
    const [at, other] = [await home(), await home()];
    for (const each of [at, other]) await each.grant('acme', oauth);
    await writeFile(at.at('data', 'master.key'), await readFile(other.at('data', 'master.key')));
    const says = /The store at .+sidekey\.db was sealed with another master key/;
    await expectRefusal(at, ['grant', 'show', 'acme'], { exit: 2, says, hint: 'Point "key" in the config' });
    await expectRefusal(at, ['grant', 'revoke', 'acme'], { exit: 2, says, hint: 'Point "key"' });
    const status = (await at.json(['status'])) as { key: object; needs: readonly object[] };
    expect(status).toMatchObject({
      key: { ok: false, error: 'key_mismatch' },
      needs: [{ about: 'key', sentence: expect.stringMatching(says) }],
    });
  });

  test('an env: secret without its variable, when the secret is used', async () => {
    const at = await home({
      providers: {
        desk: {
          token_endpoint: 'https://127.0.0.1:1/token',
          client_id: 'sidekey',
          client_secret: 'env:DESK_SECRET',
          audience: ['desk.example.com'],
        },
      },
    });
    await at.grant('desk', oauth, ['--provider', 'desk']);
    const ran = await at.program(['grant', 'refresh', 'desk', '--force']);
    expect(ran).toMatchObject({ exit: 5, stdout: '' });
    expect(ran.stderr).toMatch(
      /^sidekey: .+config\/sidekey\.yaml:\d+:\d+: providers\.desk\.client_secret: env:DESK_SECRET is not set\.\n {2}→ set DESK_SECRET in the environment/,
    );
    expect(await at.json(['grant', 'show', 'desk'])).toMatchObject({ state: 'active', revision: 1 });
  });

  test('a store written by a newer version', async () => {
    const at = await home();
    await at.grant('acme', oauth);
    const database = new DatabaseSync(at.at('data', 'sidekey.db'));
    database.exec(`insert into kysely_migration values ('0999-later', '2030-01-01T00:00:00.000Z')`);
    database.close();
    const expected = {
      exit: 1,
      says: /The store at .+sidekey\.db was written by a newer version of Sidekey\./,
      hint: 'Use that version',
    };
    await expectRefusal(at, ['grant', 'list'], expected);
    await expectRefusal(at, ['start'], expected);
    await expectRefusal(at, addAcme, expected, { input: JSON.stringify(oauth) });
  });

  test('a truncated store', async () => {
    const at = await home();
    await at.grant('acme', oauth);
    const path = at.at('data', 'sidekey.db');
    await writeFile(path, (await readFile(path)).subarray(0, 5_000));
    await expectRefusal(at, ['grant', 'list'], { exit: 1, says: 'sidekey.db', hint: 'backup' });
  });

  test('a CA certificate that does not match its key', async () => {
    const [at, other] = [await home(), await home()];
    for (const each of [at, other]) {
      await each.grant('acme', oauth);
      await (await each.start()).stop();
    }
    await writeFile(at.at('certs', 'ca.crt'), await readFile(other.at('certs', 'ca.crt')));
    const expected = {
      exit: 2,
      says: /ca\.crt is not the certificate of .+ca\.key\./,
      hint: /Move .+ca\.crt away/,
    };
    await expectRefusal(at, ['ca', 'show'], expected);
    await expectRefusal(at, ['ca', 'export'], expected);
    const ran = await at.program(['start']);
    expect(ran.exit).toBe(2);
    expect(ran.stderr).toMatch(expected.says);
    expect(ran.stderr).toMatch(expected.hint);
  });

  test.each([
    ['proxy:\n  listen: 127.0.0.1:0\n lisen: x', /config\/sidekey\.yaml:\d+:\d+: /],
    [
      'version: 1\nproxy:\n  lisen: 127.0.0.1:0\n',
      'config/sidekey.yaml:3:3: proxy.lisen: is not a key here; did you mean listen?',
    ],
    [
      'version: 1\nlimits: { client_connections: many }\n',
      /config\/sidekey\.yaml:2:31: limits\.client_connections: /,
    ],
  ])('an invalid config, with line and column: %j', async (text, says) => {
    const at = await home();
    await writeFile(at.configFile, text);
    const commands = [['start'], ['grant', 'list'], ['domain', 'deny', 'example.com'], ['audit', 'tail']];
    await Promise.all(commands.map((args) => expectRefusal(at, args, { exit: 2, says, hint: 'change th' })));
  });

  test('a missing config file', async () => {
    const at = await home();
    await rm(at.configFile);
    await expectRefusal(at, ['grant', 'list'], {
      exit: 2,
      says: 'There is no config file config/sidekey.yaml.',
      hint: /cp .+default\.yaml /,
    });
  });

  test('a listener on a public address without agent tokens', async () => {
    const at = await home({ proxy: { listen: '0.0.0.0:0' } });
    await expectRefusal(at, ['start'], {
      exit: 2,
      says: /proxy\.listen: .+no token/,
      hint: 'authentication: required',
    });
  });
});

test.skipIf(process.platform === 'win32')('a removed working folder is named', async () => {
  const at = await home();
  await mkdir(at.at('gone'));
  const script = 'rmdir "$PWD" && exec "$0" "$@"';
  const words = ['-c', script, process.execPath, program, 'status'];
  const { status, stderr } = spawnSync('sh', words, { cwd: at.at('gone'), encoding: 'utf8' });
  expect(stderr).toMatch(
    /^sidekey: The working folder of this shell does not exist any more\.\n {2}→ change to a folder that exists, such as: cd ~\n$/m,
  );
  expect(status).toBe(2);
});
