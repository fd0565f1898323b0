import { spawnSync } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { openAuthority } from '../../../src/ca/authority.ts';
import { loadConfig } from '../../../src/config/load.ts';
import { openState } from '../../../src/app/state.ts';
import { home, type Home, program } from '../../support/command-line.ts';

const key = { api_key: 'key-secret-0123456789' };
const silent = { error() {}, warn() {}, info() {}, debug() {} };
const proxy = 'http://127.0.0.1:8377';
/** A placeholder of one holder and one grant. */
const minted = /^ghp_sidekey[0-9A-Za-z]{12}0{17}$/;

/** A place with a CA, a grant of GitHub that the map offers, and an agent that reaches it. */
async function place(config: object = {}): Promise<Home> {
  const at = await home({
    proxy: { listen: '127.0.0.1:0' },
    domains: { 'api.github.com': { grant: 'work' } },
    ...config,
  });
  await at.grant('work', key, ['--provider', 'github']);
  await at.run(['agent', 'create', 'ci', '--grant', 'work']);
  await makeCa(at);
  return at;
}

async function makeCa(at: Home): Promise<void> {
  const state = await openState(await loadConfig(at.configFile, { env: {} }), { log: silent, now: Date.now });
  const { directory, permittedNames } = state.config.ca;
  await openAuthority({ directory, permittedNames, vault: state.vault, now: Date.now });
  await state.close();
}

const setBy = (text: string) =>
  Object.fromEntries([...text.matchAll(/^export (\w+)='(.*)'$/gm)].map(([, name, value]) => [name, value]));

async function models(): Promise<Home> {
  const at = await home({
    proxy: { listen: '127.0.0.1:8377' },
    domains: { 'api.openai.com': { grant: 'openai' }, 'api.github.com': { grant: 'work' } },
  });
  await at.grant('openai', { api_key: 'sk-proj-secret-0123456789' }, ['--provider', 'openai']);
  await at.grant('work', key, ['--provider', 'github']);
  await at.run(['agent', 'create', 'ci', '--grant', 'openai', 'work']);
  await makeCa(at);
  return at;
}

describe('the variables for programs without proxy support', () => {
  test('are base addresses and keys, without any proxy variable', async () => {
    const at = await models();
    const { stdout, stderr } = await at.run(['env', '--shell', 'bash', '--base-urls']);
    expect([setBy(stdout), stderr]).toEqual([
      {
        OPENAI_API_KEY: expect.stringMatching(/^sk-proj-sidekey/),
        OPENAI_BASE_URL: 'http://127.0.0.1:8377/+/api.openai.com/v1',
        SIDEKEY_ENV: 'OPENAI_API_KEY OPENAI_BASE_URL',
      },
      '',
    ]);
  });

  test('for an agent contain the token of its lease in place of the key', async () => {
    const at = await models();
    const { stdout } = await at.run(['env', '--shell', 'bash', '--base-urls', '--agent', 'ci']);
    expect(setBy(stdout)).toMatchObject({
      OPENAI_API_KEY: expect.stringMatching(/^sidekey_lease_[\w-]{43}$/),
      OPENAI_BASE_URL: 'http://127.0.0.1:8377/+/api.openai.com/v1',
    });
  });

  test('are refused if no grant is for such an API, with the address to use', async () => {
    const at = await place();
    const ran = await at.run(['env', '--base-urls', '--proxy', proxy]);
    expect(ran).toMatchObject({ exit: 2, stdout: '' });
    expect(ran.stderr).toContain('the base address http://127.0.0.1:8377/+/HOST/PATH');
  });
});

describe('the variables of a running proxy', () => {
  test('contain the proxy and the trust files beside the CA, without a token if none is required', async () => {
    const at = await place();
    const ran = await at.run(['env', '--shell', 'bash', '--proxy', proxy]);
    expect(ran).toMatchObject({ exit: 0, stderr: '' });
    const set = setBy(ran.stdout);
    expect(set).toMatchObject({
      HTTPS_PROXY: proxy,
      http_proxy: proxy,
      NO_PROXY: 'localhost,127.0.0.1,::1',
      SSL_CERT_FILE: at.at('certs', 'clients', 'default', 'bundle.pem'),
      GITHUB_TOKEN: expect.stringMatching(minted),
    });
    const ours = await readFile(at.at('certs', 'ca.crt'), 'utf8');
    await expect(readFile(set['NODE_EXTRA_CA_CERTS'] ?? '', 'utf8')).resolves.toBe(ours);
    expect(await at.json(['lease', 'list', '--all'])).toEqual([]);
  });

  test('contain the port of the config, if the config names a port', async () => {
    const at = await place();
    await writeFile(
      at.configFile,
      stringify({ version: 1, workers: 1, proxy: { listen: '0.0.0.0:8377', authentication: 'required' } }),
    );
    const set = setBy((await at.run(['env', '--agent', 'ci', '--shell', 'sh'])).stdout);
    expect(set['HTTPS_PROXY']).toMatch(/^http:\/\/ci:sidekey_lease_[\w-]{43}@127\.0\.0\.1:8377$/);
  });

  test('contain the token of a lease as lease create does, and in no other place', async () => {
    const at = await place();
    const ran = await at.run(['env', '--proxy', proxy, '--agent', 'ci', '--grant', 'work', '--ttl', '10m']);
    const [, token = ''] = /http:\/\/ci:(sidekey_lease_[\w-]{43})@127\.0\.0\.1:8377'/.exec(ran.stdout) ?? [];
    expect(token).not.toBe('');
    expect(ran.stderr).toMatch(
      /^The token of the lease [0-9a-f-]{36} is in these lines, and is shown only once\.\nIt ends in 10 min\.\n$/,
    );
    expect(await at.json(['lease', 'list'])).toMatchObject([
      { agent: 'ci', state: 'active', expires_in: expect.closeTo(600, -1), purpose: 'sidekey env' },
    ]);
    const rest = ran.stderr + (await readFile(at.at('data', 'audit.jsonl'), 'utf8'));
    expect(rest).not.toContain(token);
    expect(/JAVA_TOOL_OPTIONS=.*/.exec(ran.stdout)?.[0]).not.toContain(token);
  });

  test('leave variables of clients that are off, and kept ones', async () => {
    const at = await place({ clients: { java: 'off' } });
    const names = async (...args: readonly string[]) => {
      const { stdout } = await at.run(['env', '--proxy', proxy, '--shell', 'json', ...args]);
      return Object.keys((JSON.parse(stdout) as { set: object }).set);
    };
    expect(await names()).not.toContain('JAVA_TOOL_OPTIONS');
    expect(await names()).toContain('NODE_OPTIONS');
    expect(await names('--keep', 'NODE_OPTIONS')).not.toContain('NODE_OPTIONS');
  });

  test('unset credentials of the shell, and name the flag that keeps them', async () => {
    const at = await place({ approvals: { webhook: { url: 'https://hooks.example/', secret: 'env:HOOK' } } });
    const env = {
      OPENAI_API_KEY: 'real-openai',
      GITHUB_TOKEN: 'real-github',
      HOOK: 'real-hook',
      SIDEKEY_P12_PASSWORD: 'real-p12',
      STRIPE_API_KEY: 'real-stripe',
      HTTPS_PROXY: 'http://user:real-password@corp.example:3128',
    };
    const ran = await at.run(['env', '--proxy', proxy, '--keep', 'STRIPE_API_KEY'], { env });
    expect(ran.stdout).toMatch(/^unset HOOK\nunset OPENAI_API_KEY\nunset SIDEKEY_P12_PASSWORD\nexport /m);
    expect(setBy(ran.stdout)['GITHUB_TOKEN']).toMatch(minted);
    expect(ran.stdout).not.toContain('STRIPE');
    expect(ran.stderr).toContain(
      'removed OPENAI_API_KEY (no openai grant → sidekey connect openai --from-env OPENAI_API_KEY)',
    );
    expect(ran.stderr).toContain('HTTPS_PROXY names corp.example:3128');
    expect(ran.stdout + ran.stderr).not.toMatch(/real-/);
  });

  test('contain no placeholder for grants outside the lease', async () => {
    const at = await place({
      domains: { 'api.github.com': { grant: 'work' }, 'api.openai.com': { grant: 'ai' } },
    });
    await at.grant('ai', key, ['--provider', 'openai']);
    const all = setBy((await at.run(['env', '--proxy', proxy])).stdout);
    expect([all['GITHUB_TOKEN'], all['OPENAI_API_KEY']]).toEqual([expect.any(String), expect.any(String)]);
    const leased = setBy((await at.run(['env', '--proxy', proxy, '--agent', 'ci'])).stdout);
    expect([leased['GITHUB_TOKEN'], leased['OPENAI_API_KEY']]).toEqual([expect.any(String), undefined]);
  });

  test.each([
    ['a caller without a token', []],
    ['an agent that is bound to everything', ['--agent', 'any']],
  ])('for %s contain no placeholder of a grant that belongs to a user', async (_name, as) => {
    const at = await place({
      domains: { 'api.github.com': { grant: 'github' }, 'api.openai.com': { grant: 'openai' } },
    });
    await at.run(['agent', 'create', 'any', '--everything']);
    const set = async () => setBy((await at.run(['env', '--proxy', proxy, ...as])).stdout);
    // The placeholders of a lease differ from those of the next one.
    const forms = async () => {
      const { GITHUB_TOKEN, OPENAI_API_KEY } = await set();
      return [GITHUB_TOKEN?.length, OPENAI_API_KEY];
    };
    const before = await forms();
    expect(before).toEqual([expect.any(Number), undefined]);
    for (const [name, provider] of [
      ['a-first', 'github'],
      ['github', 'github'],
      ['openai', 'openai'],
    ])
      await at.grant(name!, key, ['--provider', provider!, '--user', 'mallory']);
    expect(await forms()).toEqual(before);
    if (as.length === 0)
      expect((await set())['GITHUB_TOKEN']).toBe(
        (await at.run(['grant', 'show', '--placeholder', 'work'])).stdout.trim(),
      );
  });

  test('belong to a lease of unchanged lifetime, even if a user sets a short lifetime for a grant', async () => {
    const at = await place({ leases: { default_ttl: '10m', max_ttl: '8h' } });
    await at.run(['agent', 'create', 'any', '--everything']);
    const made = async () => {
      const before = (await at.json(['lease', 'list'])) as { id: string }[];
      await at.run(['env', '--proxy', proxy, '--agent', 'any']);
      const all = (await at.json(['lease', 'list'])) as { id: string; expires_in: number }[];
      const lease = all.find(({ id }) => !before.some((each) => each.id === id))!;
      const renewed = (await at.json(['lease', 'renew', lease.id])) as { expires_in: number };
      return [lease, renewed].map(({ expires_in: seconds }) => Math.ceil(seconds / 60));
    };
    expect(await made()).toEqual([10, 10]);
    const mine = ['mine', '--user', 'mallory'];
    await at.grant('mine', key, ['--provider', 'github', '--user', 'mallory']);
    expect(await at.run(['grant', 'set', ...mine, '--lease-ttl', '1m'])).toMatchObject({ exit: 0 });
    expect(await made()).toEqual([10, 10]);
    // An operator sets a maximum. It counts for each grant that the lease reaches.
    expect(await at.run(['grant', 'set', ...mine, '--max-lease-ttl', '2m'])).toMatchObject({ exit: 0 });
    expect(await made()).toEqual([2, 2]);
  });

  test('contain the placeholder of the mapped grant, if several grants share a provider and a variable', async () => {
    const at = await place();
    for (const [name, provider] of [
      ['a-first', 'github'],
      ['app', 'github-app'],
    ] as const)
      await at.grant(name, key, ['--provider', provider]);
    const alone = (await at.run(['grant', 'show', '--placeholder', 'work'])).stdout.trim();
    const set = async () => setBy((await at.run(['env', '--proxy', proxy])).stdout)['GITHUB_TOKEN'];
    expect(await set()).toBe(alone);
    const domains = { 'api.github.com': { grant: 'work' }, 'uploads.github.com': { grant: 'app' } };
    await writeFile(
      at.configFile,
      stringify({ ...(parse(await readFile(at.configFile, 'utf8')) as object), domains }),
    );
    expect(await set()).toBe(alone);
  });

  test('are removed by --unset, while the lease remains', async () => {
    const at = await place();
    const print = `'${process.execPath}' -e 'console.log(JSON.stringify(process.env))'`;
    const sidekey = `'${process.execPath}' '${program}' env --config '${at.configFile}'`;
    const env = {
      PATH: process.env['PATH'],
      npm_command: '',
      HOME: at.folder,
      OPENAI_API_KEY: 'real',
      NO_PROXY: 'corp.test',
    };
    const script = `${print}; eval "$(${sidekey} --proxy ${proxy} --agent ci)"; ${print}; eval "$(${sidekey} --unset)"; ${print}`;
    const { stdout, stderr } = spawnSync('sh', ['-c', script], { env, encoding: 'utf8' });
    const [before, during, after] = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as NodeJS.ProcessEnv);
    expect(during).not.toHaveProperty('OPENAI_API_KEY');
    expect(during).toMatchObject({ NO_PROXY: expect.stringContaining('corp.test,localhost') });
    expect(after).toEqual(before);
    expect(stderr).toContain('The lease of this shell stays valid until its end: sidekey lease list');
    expect(await at.json(['lease', 'list'])).toMatchObject([{ agent: 'ci', state: 'active' }]);
    expect(await at.json(['env', '--unset'], { env: { SIDEKEY_ENV: 'NO_PROXY' } })).toEqual({
      text: expect.stringContaining('unset NO_PROXY'),
    });
    expect(await at.run(['env', '--unset'])).toMatchObject({
      exit: 2,
      stderr: expect.stringContaining('This shell has no variables of sidekey env.'),
    });
  });

  test('are printed as JSON for programs', async () => {
    const at = await place();
    expect(await at.json(['env', '--proxy', proxy], { env: { OPENAI_API_KEY: 'x' } })).toMatchObject({
      set: { HTTPS_PROXY: proxy },
      remove: ['OPENAI_API_KEY'],
      lease: null,
      notes: [expect.stringContaining('removed OPENAI_API_KEY')],
    });
  });

  test('in a shell with a company root keep that root, even after a second call', async () => {
    const at = await place();
    const company = at.at('company.pem');
    await writeFile(company, await readFile(at.at('certs', 'ca.crt')));
    const folderOf = async (env: Readonly<Record<string, string>>) => {
      const set = setBy((await at.run(['env', '--proxy', proxy], { env })).stdout);
      return { set, folder: dirname(set['SSL_CERT_FILE'] ?? '') };
    };
    const plain = await folderOf({});
    const own = await folderOf({ REQUESTS_CA_BUNDLE: company });
    expect(plain.folder).toBe(at.at('certs', 'clients', 'default'));
    expect(own.folder).not.toBe(plain.folder);
    expect(dirname(own.folder)).toBe(dirname(plain.folder));
    const again = await folderOf(own.set as Record<string, string>);
    expect(again.set).toEqual(own.set);
  });

  test('are written to an env file for docker with the values for a container', async () => {
    const at = await place();
    const ran = await at.run(['env', '--proxy', proxy, '--shell', 'docker'], {
      env: { OPENAI_API_KEY: 'x' },
    });
    expect(ran.stdout).toMatch(/^GITHUB_TOKEN=ghp_/);
    expect(ran.stdout).not.toMatch(/OPENAI|'|export/);
    const folder = join(at.folder, 'certs', 'clients', 'default');
    expect(ran.stderr).toContain(`-v ${folder}:${folder}:ro --network host`);
  });
});

describe('no variables are printed, and no lease is created', () => {
  test.each([
    [['--shell', 'cmd'], 'The shell of --shell is not known'],
    [['--grant', 'work'], '--grant needs --agent'],
    [['--ttl', '5m'], '--ttl needs --agent'],
    [['--agent', 'nobody'], 'There is no agent nobody'],
    [['--agent', 'ci', '--ttl', 'soon'], 'is not a duration'],
    [['--agent', 'ci', '--ttl', '0s'], 'sidekey env --help'],
    [['--proxy', 'socks5://127.0.0.1:1'], 'is not the URL of a proxy'],
    [['--proxy', 'http://h:1/path'], 'is not the URL of a proxy'],
    [['--proxy', 'http://ci:sidekey_lease_x@127.0.0.1:1'], 'has user information in it'],
  ])('with %j', async (args, said) => {
    const at = await place();
    const ran = await at.run(['env', '--proxy', proxy, ...args]);
    expect(ran).toMatchObject({ exit: 2, stdout: '' });
    expect(ran.stderr).toContain(said);
    expect(ran.stderr).not.toContain('sidekey_lease_');
    expect(await at.json(['lease', 'list', '--all'])).toEqual([]);
  });

  test('if the port is unknown, tokens are required, or there is no CA; the error has a hint', async () => {
    const at = await place();
    expect((await at.run(['env'])).stderr).toContain('→ sidekey env --proxy http://127.0.0.1:PORT');
    await writeFile(
      at.configFile,
      stringify({ version: 1, proxy: { listen: '127.0.0.1:8377', authentication: 'required' } }),
    );
    expect((await at.run(['env'])).stderr).toContain('→ sidekey env --agent AGENT --grant GRANT');
    const empty = await home();
    expect((await empty.run(['env', '--proxy', proxy])).stderr).toContain('→ sidekey start creates it');
  });
});
