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
  test('connects the key that it finds, writes the map, and installs the instructions', async () => {
    const { at, env } = await machine();
    const ran = await at.run(['init', '--yes', '--json'], { env });
    expect(ran.exit).toBe(0);
    expect(JSON.parse(ran.stdout)).toEqual({
      config: at.configFile,
      connected: ['corp'],
      declined: [],
      failed: [],
      skill: true,
      service: false,
    });
    expect(await at.json(['grant', 'list'])).toMatchObject([{ name: 'corp', state: 'active' }]);
    expect(await readFile(at.configFile, 'utf8')).toContain('{ grant: corp }');
    expect(await readFile(at.at('home', '.claude/skills/sidekey/SKILL.md'), 'utf8')).toContain('Sidekey');
  });

  test('says where the key still is, and never shows it', async () => {
    const { at, env } = await machine();
    const { stdout, stderr } = await at.run(['init', '--yes'], { env });
    expect(stdout).toContain('corp: unset CORP_KEY');
    expect(stdout + stderr).not.toContain(key);
  });

  test('changes nothing when it is repeated', async () => {
    const { at, env } = await machine();
    await at.run(['init', '--yes'], { env });
    const [grants, config] = [await at.json(['grant', 'list']), await readFile(at.configFile, 'utf8')];
    const { exit, stdout } = await at.run(['init', '--yes', '--json'], { env });
    expect([exit, JSON.parse(stdout)]).toMatchObject([0, { connected: [], failed: [] }]);
    expect(await at.json(['grant', 'list'])).toEqual(grants);
    expect(await readFile(at.configFile, 'utf8')).toBe(config);
  });

  test('stores no key that the service refuses, says so, and does the other steps', async () => {
    const { at, env } = await machine();
    const { exit, stdout, stderr } = await at.run(['init', '--yes', '--json'], {
      env: { ...env, CORP_KEY: 'wrong' },
    });
    expect([exit, JSON.parse(stdout)]).toMatchObject([1, { connected: [], failed: ['corp'], skill: true }]);
    expect(stderr).toContain('401');
    expect(await at.json(['grant', 'list'])).toEqual([]);
  });
});

test('init without a terminal asks for --yes', async () => {
  const { at, env } = await machine();
  const { exit, stderr } = await at.run(['init'], { env });
  expect([exit, stderr]).toEqual([2, expect.stringContaining('sidekey init --yes')]);
});

test.skipIf(!hasPseudoTerminal)(
  'init in a terminal (script of util-linux) does what was answered, and nothing else',
  { timeout: 60_000 },
  async () => {
    const { at, env } = await machine();
    const { PATH: _path, ...variables } = env;
    const command = [process.execPath, program, 'init', '--config', at.configFile];
    const { until, type, screen, ended } = runInTerminal(command, { cwd: at.folder, env: variables });
    await until((text) => text.includes('Connect corp with CORP_KEY in the environment? [Y/n]'));
    type('n\r');
    await until((text) => text.includes('Connect which service'));
    type('\r');
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
