import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { home, type Home, program } from '../../support/command-line.ts';
import { hasPseudoTerminal, runInTerminal } from '../../support/pseudo-terminal.ts';
import { startUpstream, upstreamCa, upstreamHost } from '../../support/upstream.ts';

const key = 'key-of-a-person-0123456789';

interface Machine {
  readonly at: Home;
  readonly env: Record<string, string>;
}

/** A machine with an agent and a key in a variable, and an API that knows the key. */
async function machine(): Promise<Machine> {
  const upstream = await startUpstream(({ headers }, response) => {
    response.writeHead(headers.authorization === `Bearer ${key}` ? 200 : 401).end('{}');
  });
  const at = await home({
    upstream: {
      ca: ['upstream-ca.pem'],
      resolve: { [upstreamHost]: '127.0.0.1' },
      private_addresses: ['127.0.0.1/32'],
    },
    providers: {
      corp: {
        audience: [upstream.authority],
        probe: { url: `${upstream.url}/me` },
        environment: { CORP_KEY: null },
      },
    },
  });
  await writeFile(at.at('config', 'upstream-ca.pem'), upstreamCa);
  await mkdir(at.at('home', '.claude'), { recursive: true });
  return { at, env: { PATH: '', HOME: at.at('home'), CORP_KEY: key } };
}

describe('init --yes', () => {
  test('connects the key found in the environment, writes the domain map, and installs the instructions', async () => {
    const { at, env } = await machine();
    const ran = await at.run(['init', '--yes', '--json'], { env });
    expect(ran.exit).toBe(0);
    expect(JSON.parse(ran.stdout)).toEqual({
      config: at.configFile,
      connected: ['corp'],
      declined: [],
      failed: [],
      before: [],
      skill: true,
      service: false,
    });
    expect(await at.json(['grant', 'list'])).toMatchObject([{ name: 'corp', state: 'active' }]);
    expect(await readFile(at.configFile, 'utf8')).toContain('{ grant: corp }');
    expect(await readFile(at.at('home', '.claude/skills/sidekey/SKILL.md'), 'utf8')).toContain('Sidekey');
  });

  test('prints where the key is still stored, and never prints the key', async () => {
    const { at, env } = await machine();
    const { stdout, stderr } = await at.run(['init', '--yes'], { env });
    expect(stdout).toContain('corp: unset CORP_KEY');
    expect(stdout + stderr).not.toContain(key);
  });

  test('changes nothing when run again', async () => {
    const { at, env } = await machine();
    await at.run(['init', '--yes'], { env });
    const [grants, config] = [await at.json(['grant', 'list']), await readFile(at.configFile, 'utf8')];
    const { exit, stdout } = await at.run(['init', '--yes', '--json'], { env });
    expect([exit, JSON.parse(stdout)]).toMatchObject([0, { connected: [], failed: [] }]);
    expect(await at.json(['grant', 'list'])).toEqual(grants);
    expect(await readFile(at.configFile, 'utf8')).toBe(config);
  });

  test('does not store a key that the service refuses, reports the refusal, and does the other steps', async () => {
    const { at, env } = await machine();
    const { exit, stdout, stderr } = await at.run(['init', '--yes', '--json'], {
      env: { ...env, CORP_KEY: 'wrong' },
    });
    expect([exit, JSON.parse(stdout)]).toMatchObject([1, { connected: [], failed: ['corp'], skill: true }]);
    expect(stderr).toContain('401');
    expect(await at.json(['grant', 'list'])).toEqual([]);
  });
});

test('init without a terminal requires --yes', async () => {
  const { at, env } = await machine();
  const { exit, stderr } = await at.run(['init'], { env });
  expect([exit, stderr]).toEqual([2, expect.stringContaining('sidekey init --yes')]);
});

test.skipIf(!hasPseudoTerminal)(
  'init in a terminal (script of util-linux) does only the steps that the person accepted',
  { timeout: 60_000 },
  async () => {
    const { at, env } = await machine();
    const { PATH: _path, ...variables } = env;
    const command = [process.execPath, program, 'init', '--config', at.configFile];
    const { until, type, screen, ended } = runInTerminal(command, { cwd: at.folder, env: variables });
    await until((text) => text.includes('Connect corp with CORP_KEY in the environment? [Y/n]'));
    type('n\r');
    await until((text) => text.includes('Connect which service'));
    type('nosuch\r');
    await until((text) => text.includes('No provider has "nosuch" in its name.'));
    type('n\r');
    await until((text) => text.includes('Install the instructions for claude? [Y/n]'));
    type('no\r');
    await until((text) => text.includes('from login on? [y/N]'));
    type('\r');
    expect((await ended).exit).toBe(1);
    expect(screen()).toContain('Nothing is connected yet.');
    expect(await at.json(['grant', 'list'])).toEqual([]);
    expect(await readdir(at.at('home', '.claude'))).toEqual([]);
  },
);

test.skipIf(!hasPseudoTerminal)(
  'init in a terminal (script of util-linux) shows no escape codes, and its undo removes everything',
  { timeout: 60_000 },
  async () => {
    const { at, env } = await machine();
    const before = await readFile(at.configFile, 'utf8');
    const { PATH: _path, ...variables } = env;
    const command = [process.execPath, program, 'init', '--config', at.configFile];
    const { until, type, screen, ended } = runInTerminal(command, { cwd: at.folder, env: variables });
    await until((text) => text.includes('Connect corp with'));
    type('\r');
    await until((text) => text.includes('Install the instructions for claude? [Y/n]'));
    expect(screen()).toContain('Connected corp.');
    expect(screen()).not.toContain('u001b');
    type('\r');
    await until((text) => text.includes('from login on? [y/N]'));
    type('\r');
    expect((await ended).exit).toBe(0);
    const file = at.at('home', '.claude/skills/sidekey/SKILL.md');
    const undo = screen().slice(screen().indexOf('To undo:')).replaceAll('\r', '');
    expect(undo).toContain('grant remove corp --domains\n');
    expect(undo).toContain(`rm ${file}\n`);
    expect(undo).not.toContain('uninstall');
    await at.run(['grant', 'remove', 'corp', '--domains']);
    expect(await readFile(at.configFile, 'utf8')).not.toContain('corp }');
    expect(before).not.toContain('corp }');

    const again = runInTerminal([...command], { cwd: at.folder, env: variables });
    await again.until((text) => text.includes('Connect corp with'));
    again.type('\r');
    // The instructions are there.
    await again.until((text) => text.includes('from login on? [y/N]'));
    expect(again.screen()).not.toContain('Install the instructions');
    again.type('\r');
    await again.ended;
  },
);

test('init lists what was connected before, and then offers no undo', async () => {
  const { at, env } = await machine();
  await at.run(['init', '--yes'], { env });
  const { stdout, stderr } = await at.run(['init', '--yes'], { env });
  expect(stderr).toContain('Connected already: corp.');
  expect(stdout).not.toContain('To undo');
});

test('init without network access names the command that stores a key without verification', async () => {
  const { at, env } = await machine();
  const config = (await readFile(at.configFile, 'utf8')).replace(
    'private_addresses',
    'proxy: http://127.0.0.1:9\n  private_addresses',
  );
  await writeFile(at.configFile, config);
  const { exit, stdout } = await at.run(['init', '--yes'], { env });
  expect([exit, stdout]).toEqual([1, expect.stringContaining('→ sidekey init --no-verify')]);
  const { stderr } = await at.run(['init', '--yes', '--no-verify'], { env });
  expect(stderr).toContain('Connected corp. Not verified: the first call shows whether it works.');
});

test('init does not add that a verified key was not verified', async () => {
  const { at, env } = await machine();
  const { stderr } = await at.run(['init', '--yes'], { env });
  expect(stderr).toContain('Connected corp.\n');
});

test('init searches .env in the working directory of the person when npm runs it in the folder of the package', async () => {
  const { at, env } = await machine();
  await mkdir(at.at('project'));
  await writeFile(at.at('project', '.env'), `CORP_KEY=${key}\n`);
  const { CORP_KEY: _key, ...bare } = env;
  const standing = { ...bare, INIT_CWD: at.at('project') };
  const { stdout } = await at.run(['init', '--yes', '--json'], { env: standing });
  expect(JSON.parse(stdout)).toMatchObject({ connected: ['corp'] });
});
