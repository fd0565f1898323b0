import { execFile, execFileSync } from 'node:child_process';
import { chmod, readFile, stat, writeFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { randomBytes } from 'node:crypto';
import { stringify } from 'yaml';
import { describe, expect, it } from 'vitest';
import { home, program, type Home } from '../../support/command-line.ts';
import { hasPseudoTerminal, runInTerminal } from '../../support/pseudo-terminal.ts';
import { startVaultServer } from '../../support/vault-server.ts';
import { upstreamCa, upstreamHost } from '../../support/upstream.ts';

const key = { type: 'api_key', value: 'key-secret-0123456789' };

interface Status {
  readonly source: string;
  readonly rotating: boolean;
  readonly keys: readonly { readonly key_id: string }[];
}

const status = async (at: Home, env = {}) => (await at.json(['key', 'status'], { env })) as Status;
const opens = async (at: Home, env = {}) => (await at.run(['grant', 'show', 'work'], { env })).exit === 0;
const configure = (at: Home, config: object) =>
  writeFile(at.configFile, stringify({ version: 1, ...config }));

async function addGrant(at: Home, env = {}): Promise<void> {
  const { exit, stderr } = await at.run(
    ['grant', 'import', 'work', '--no-verify', '--provider', 'acme', '--audience', 'a.example.com'],
    {
      input: JSON.stringify(key),
      env,
    },
  );
  expect([exit, stderr.includes('Error')], stderr).toEqual([0, false]);
}

describe('key source passphrase', () => {
  const config = { key: { source: 'passphrase', passphrase: 'env:PHRASE' } };

  it('seals the master key with Argon2id in a private file, which only the passphrase opens', async () => {
    const at = await home(config);
    await addGrant(at, { PHRASE: 'correct horse' });
    expect(await opens(at, { PHRASE: 'correct horse' })).toBe(true);
    const file = at.at('data', 'master.sealed');
    expect(((await stat(file)).mode & 0o777).toString(8)).toBe('600');
    const kept = JSON.parse(await readFile(file, 'utf8')) as Record<string, unknown>;
    expect(kept).toMatchObject({ kdf: 'argon2id', memory: 65_536, passes: 3, parallelism: 4 });
    const wrong = await at.run(['grant', 'show', 'work'], { env: { PHRASE: 'wrong horse' } });
    expect(wrong.exit).toBe(2);
    expect(wrong.stderr).toContain('The passphrase of the master key is wrong.');
    await writeFile(file, JSON.stringify({ ...kept, passes: 1 }));
    expect((await at.run(['grant', 'show', 'work'], { env: { PHRASE: 'correct horse' } })).stderr).toContain(
      'was changed',
    );
    await writeFile(file, JSON.stringify(kept));
    await chmod(file, 0o644);
    expect((await at.run(['grant', 'show', 'work'], { env: { PHRASE: 'correct horse' } })).stderr).toContain(
      `chmod 600 ${file}`,
    );
  });

  it('gets a new passphrase from a rotation', async () => {
    const at = await home(config);
    await addGrant(at, { PHRASE: 'one' });
    const rotated = await at.run(['key', 'rotate', '--new', 'env:NEXT'], {
      env: { PHRASE: 'one', NEXT: 'two' },
    });
    expect([rotated.exit, rotated.stdout]).toEqual([0, expect.stringContaining('is retired')]);
    expect(await opens(at, { PHRASE: 'one' })).toBe(false);
    expect(await opens(at, { PHRASE: 'two' })).toBe(true);
  });

  it('prints the next step if there is no terminal', async () => {
    const at = await home({ key: { source: 'passphrase' } });
    const { exit, stderr } = await at.run(['api-key', 'create', 'a', '--role', 'operator']);
    expect([exit, stderr]).toEqual([2, expect.stringContaining('this process has no terminal')]);
    expect(stderr).toContain('set key.passphrase to env:NAME');
  });

  it.skipIf(!hasPseudoTerminal)('prompts on a terminal, twice for a new key, without echo', async () => {
    const at = await home({ key: { source: 'passphrase' } });
    const words = ['api-key', 'create', 'a', '--role', 'operator', '--config', at.configFile];
    const first = runInTerminal([process.execPath, program, ...words], { cwd: at.folder });
    await first.until((screen) => screen.includes('New passphrase of the master key: '));
    first.type('typed phrase\r');
    await first.until((screen) => screen.includes('The same again: '));
    first.type('typed phrase\r');
    expect((await first.ended).exit).toBe(0);
    expect(first.screen()).not.toContain('typed phrase');
    const again = runInTerminal([process.execPath, program, 'key', 'status', '--config', at.configFile], {
      cwd: at.folder,
    });
    await again.until((screen) => screen.includes('Passphrase of the master key: '));
    again.type('typed phrase\r');
    expect((await again.ended).exit).toBe(0);
    expect(again.screen()).toContain('Source: passphrase');
  });
});

describe('key source command', () => {
  it('reads the key from the output, and a new key from a rotation that the operator finishes', async () => {
    const [one, two] = [randomBytes(32).toString('base64'), randomBytes(32).toString('hex')];
    const at = await home({ key: { source: 'command', command: 'cat key.txt' } });
    await writeFile(at.at('config', 'key.txt'), `${one}\n`);
    await addGrant(at);
    await writeFile(at.at('config', 'next.txt'), two, { mode: 0o600 });
    const refused = await at.run(['key', 'rotate']);
    expect([refused.exit, refused.stderr]).toEqual([
      2,
      expect.stringContaining('the new key has to come from you'),
    ]);
    const begun = await at.run(['key', 'rotate', '--new', 'file:next.txt']);
    expect([begun.exit, begun.stdout]).toEqual([0, expect.stringContaining('until you finish')]);
    expect(await status(at)).toMatchObject({ source: 'command', rotating: true, left: 0 });
    expect(await opens(at)).toBe(true);
    await writeFile(at.at('config', 'key.txt'), two);
    expect(await opens(at)).toBe(true);
    expect((await at.run(['key', 'rotate'])).stdout).toContain('is retired');
    expect(await opens(at)).toBe(true);
    await writeFile(at.at('config', 'key.txt'), one);
    expect(await opens(at)).toBe(false);
  });

  it('reports the program without its output if the output is not a key', async () => {
    const at = await home({ key: { source: 'command', command: 'echo hunter2-secret' } });
    const { exit, stderr } = await at.run(['api-key', 'create', 'a', '--role', 'operator']);
    expect([exit, stderr]).toEqual([2, expect.stringContaining('The key command gives no master key')]);
    expect(stderr).not.toContain('hunter2');
  });
});

describe('key source env', () => {
  it('rotates to a key from the operator, and finishes when the variable contains the new key', async () => {
    const [one, two] = [randomBytes(32).toString('base64'), randomBytes(32).toString('base64')];
    const at = await home({ key: { source: 'env', name: 'MASTER' } });
    const run = (args: readonly string[], env: Readonly<Record<string, string>>) =>
      at.program(args, { env: { PATH: process.env['PATH'], ...env } });
    await run(['api-key', 'create', 'a', '--role', 'operator'], { MASTER: one });
    const begun = await run(['key', 'rotate', '--new', 'env:NEXT'], { MASTER: one, NEXT: two });
    expect([begun.exit, begun.stdout]).toEqual([0, expect.stringContaining('until you finish')]);
    expect((await run(['key', 'status'], { MASTER: one })).stdout).toContain('The rotation is not finished');
    expect((await run(['key', 'rotate'], { MASTER: two })).stdout).toContain('is retired');
    const { exit, stderr } = await run(['key', 'rotate'], { MASTER: one });
    expect([exit, stderr]).toEqual([2, expect.stringContaining('sealed with another master key')]);
  });
});

const transit = (url: string, login: object) => ({
  key: { source: 'transit', address: url, name: 'sidekey', ca: 'ca.pem', ...login },
  upstream: { resolve: { [upstreamHost]: '127.0.0.1' } },
});

describe('key source transit', () => {
  it('keeps the key wrapped, unwraps the key at each start, and rotates the key', async () => {
    const server = await startVaultServer({ token: 'root-token' });
    const at = await home(transit(server.url, { token: 'env:VAULT_TOKEN' }));
    await writeFile(at.at('config', 'ca.pem'), upstreamCa);
    const env = { VAULT_TOKEN: 'root-token' };
    await addGrant(at, env);
    const file = await readFile(at.at('data', 'master.sealed'), 'utf8');
    expect(JSON.parse(file)).toMatchObject({
      transit: 'transit/sidekey',
      ciphertext: expect.stringMatching(/^vault:v1:/),
    });
    expect(await opens(at, env)).toBe(true);
    server.rotate();
    expect(await opens(at, env)).toBe(true);
    expect((await at.run(['key', 'rotate'], { env })).stdout).toContain('is retired');
    expect(await readFile(at.at('data', 'master.sealed'), 'utf8')).toContain('vault:v2:');
    expect(await opens(at, env)).toBe(true);
    const denied = await at.run(['grant', 'show', 'work'], { env: { VAULT_TOKEN: 'other' } });
    expect([denied.exit, denied.stderr]).toEqual([
      2,
      expect.stringContaining('it answered 403 to /v1/transit/decrypt/sidekey'),
    ]);
    server.seal();
    expect((await at.run(['grant', 'show', 'work'], { env })).stderr).toContain('it answered 503');
  });

  it('refuses a service whose certificate it cannot verify', async () => {
    const server = await startVaultServer({ token: 'root-token' });
    const at = await home({
      key: { source: 'transit', address: server.url, name: 'sidekey', token: 'env:VAULT_TOKEN' },
      upstream: { resolve: { [upstreamHost]: '127.0.0.1' } },
    });
    const { exit, stderr } = await at.run(['api-key', 'create', 'a', '--role', 'operator'], {
      env: { VAULT_TOKEN: 'root-token' },
    });
    expect([exit, stderr]).toEqual([2, expect.stringContaining('cannot be used')]);
    expect(server.calls).toEqual([]);
  });

  it.each([
    ['AppRole', { approle: { role_id: 'r1', secret_id: 'env:SECRET_ID' } }],
    ['Kubernetes', { kubernetes: { role: 'r1', jwt: 'env:SECRET_ID' } }],
    ['JWT', { jwt: { role: 'r1', jwt: 'env:SECRET_ID', mount: 'ci' } }],
  ])('logs in with %s', async (_name, login) => {
    const known = { role: 'r1', secret: 's1' };
    const logins = { approle: known, kubernetes: known, ci: known };
    const server = await startVaultServer({ logins });
    const at = await home(transit(server.url, login));
    await writeFile(at.at('config', 'ca.pem'), upstreamCa);
    await addGrant(at, { SECRET_ID: 's1' });
    expect(await opens(at, { SECRET_ID: 's1' })).toBe(true);
    expect((await at.run(['grant', 'show', 'work'], { env: { SECRET_ID: 's2' } })).exit).toBe(2);
  });
});

/** Names the programs that a test of the keyring needs and this machine lacks. */
const lacking = ['dbus-run-session', 'gnome-keyring-daemon', 'secret-tool'].filter((name) => {
  try {
    return execFileSync('sh', ['-c', `command -v ${name}`]).length === 0;
  } catch {
    return true;
  }
});

describe('key source keyring', () => {
  it.skipIf(lacking.length > 0)(
    `keeps the key in the Secret Service (without ${lacking.join(', ') || 'nothing'}: skipped)`,
    { timeout: 60_000 },
    async () => {
      const at = await home({ key: { source: 'keyring' } });
      const sidekey = `${process.execPath} ${program}`;
      const config = `--config ${at.configFile}`;
      const script = [
        'set -e',
        'printf test | gnome-keyring-daemon --unlock --components=secrets >/dev/null 2>&1',
        `${sidekey} api-key create a --role operator ${config} >/dev/null 2>&1`,
        `${sidekey} key status --json ${config}`,
        `${sidekey} key rotate ${config} >/dev/null`,
        `${sidekey} key status --json ${config}`,
        'secret-tool search --all service sidekey 2>&1 | grep -c "^secret = "',
      ].join('\n');
      const { stdout } = await promisify(execFile)('dbus-run-session', ['--', 'sh', '-c', script], {
        cwd: at.folder,
        env: {
          PATH: process.env['PATH'],
          HOME: at.folder,
          XDG_DATA_HOME: at.folder,
          XDG_RUNTIME_DIR: at.folder,
        },
      });
      const [before = '', after = '', entries] = stdout.trim().split('\n');
      const [first, second] = [JSON.parse(before), JSON.parse(after)] as [Status, Status];
      expect(first).toMatchObject({ source: 'keyring', keys: [{ state: 'current' }] });
      expect(second.keys.map(({ key_id }) => key_id)).toContain(first.keys[0]?.key_id);
      expect(second.keys).toHaveLength(2);
      // The key before is not kept.
      expect(entries).toBe('1');
    },
  );

  it('fails without a session, and uses no other source instead', async () => {
    const at = await home({ key: { source: 'keyring' } });
    const { exit, stderr } = await at.program(['api-key', 'create', 'a', '--role', 'operator'], {
      env: { DBUS_SESSION_BUS_ADDRESS: 'unix:path=/nonexistent', PATH: process.env['PATH'] },
    });
    expect([exit, stderr]).toEqual([2, expect.stringContaining('The keyring cannot be used')]);
    await expect(stat(at.at('data', 'master.key'))).rejects.toMatchObject({ code: 'ENOENT' });
  });
});

describe('the key section of the config', () => {
  it.each([
    [{ source: 'vault' }, 'must be file, env, command, passphrase, keyring, transit or node'],
    [{ source: 'command', command: '' }, 'names no command'],
    [{ source: 'command', command: 'a | b' }, 'has a | for a shell'],
    [{ source: 'passphrase', passphrase: 'hunter2' }, 'is not a reference to a secret'],
    [{ source: 'transit', address: 'http://vault.example.com', name: 'k', token: 'env:T' }, 'is not https'],
    [
      { source: 'transit', address: 'https://vault.example.com', name: 'k' },
      'must have one of token, approle, kubernetes and jwt',
    ],
  ])('is refused with an explanation: %j', async (given, sentence) => {
    const at = await home({});
    await configure(at, { key: given });
    const { exit, stderr } = await at.run(['config', 'check']);
    expect([exit, stderr]).toEqual([2, expect.stringContaining(sentence)]);
    expect(stderr).not.toContain('hunter2');
  });
});
