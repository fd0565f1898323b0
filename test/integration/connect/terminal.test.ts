/** The questions of `connect`, answered in a terminal. */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { home, type Home, program } from '../../support/command-line.ts';
import { acmeHome, alice, secret, visit } from '../../support/connect-home.ts';
import { hasPseudoTerminal, type InTerminal, runInTerminal } from '../../support/pseudo-terminal.ts';
import { startUpstream, upstreamCa, upstreamHost } from '../../support/upstream.ts';

const key = 'key-of-a-person-0123456789';
const secondKey = 'key-of-another-0123456789';

/** Runs `sidekey connect` in a terminal of its own. */
function connectIn(at: Home, args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const command = [process.execPath, program, 'connect', ...args, '--config', at.configFile];
  return runInTerminal(command, { cwd: at.folder, env });
}

/** An API that knows two keys, at the provider corp. */
async function corpHome(): Promise<Home> {
  const upstream = await startUpstream(({ headers: { authorization } }, response) => {
    const isKnown = [`Bearer ${key}`, `Bearer ${secondKey}`].includes(authorization ?? '');
    response.writeHead(isKnown ? 200 : 401).end('{}');
  });
  const at = await home({
    upstream: {
      ca: ['upstream-ca.pem'],
      resolve: { [upstreamHost]: '127.0.0.1' },
      private_addresses: ['127.0.0.1/32'],
    },
    providers: {
      'corp-api': {
        audience: [upstream.authority],
        probe: { url: `${upstream.url}/me` },
        environment: { CORP_KEY: null },
      },
    },
  });
  await writeFile(at.at('config', 'upstream-ca.pem'), upstreamCa);
  return at;
}

/** Does what a person does in the browser whose address is on the screen. */
async function consentOn(at: Awaited<ReturnType<typeof acmeHome>>, { screen, until }: InTerminal) {
  const address = /https:\/\/\S+&\S+\r\n/;
  await until((text) => address.test(text));
  const asked = new URL((address.exec(screen())?.[0] ?? '').trim());
  await visit(await at.consent(asked.href, alice));
  return asked;
}

const storedNames = async (at: Home) =>
  ((await at.json(['grant', 'list'])) as readonly { name: string }[]).map(({ name }) => name);

/** Every byte of the folder, also of the database. */
async function bytesOf(folder: string): Promise<string> {
  const files = (await readdir(folder, { recursive: true, withFileTypes: true })).filter((entry) =>
    entry.isFile(),
  );
  const contents = await Promise.all(
    files.map(({ parentPath, name }) => readFile(join(parentPath, name), 'latin1')),
  );
  return contents.join('\n');
}

/** A credential as a person pastes it. */
const pasted = { bare: `${key}\r`, json: `{\r  "type": "api_key",\r  "value": "${key}"\r}\r\r` };

test.skipIf(!hasPseudoTerminal).each(Object.entries(pasted))(
  'grant import in a terminal (script of util-linux) takes a pasted credential (%s) and does not show it',
  { timeout: 60_000 },
  async (_form, keys) => {
    const at = await corpHome();
    const command = [process.execPath, program, 'grant', 'import', 'corp-api', '--config', at.configFile];
    const { until, type, screen, ended } = runInTerminal(command, { cwd: at.folder });
    await until((text) => text.includes('Paste the credential (it is not shown)'));
    type(keys);
    expect((await ended).exit).toBe(0);
    expect(screen()).toContain('accepts the credential');
    expect(screen()).not.toContain(key);
    expect(await storedNames(at)).toEqual(['corp-api']);
  },
);

test('a second account does not replace the first as the default, and a request can select the second', async () => {
  const at = await corpHome();
  await at.run(['grant', 'import', 'corp-api'], { input: key });
  const second = await at.run(['connect', 'corp-api', '--token', '--name', 'work'], { input: secondKey });
  expect(await readFile(at.configFile, 'utf8')).toContain('{ grant: corp-api }');
  expect(second.stdout).toContain('The grant corp-api stays the default.');
  expect(second.stdout).toContain('→ sidekey run --grant work -- COMMAND');
  expect(second.stdout).toContain('+grant=work');
  const [domain] = (await at.json(['domain', 'list'])) as readonly { pattern: string }[];
  expect(JSON.stringify(domain)).toContain('corp-api');
});

test('an unset client secret leaves the config file unchanged', async () => {
  const at = await corpHome();
  const before = await readFile(at.configFile, 'utf8');
  const urls = ['--auth-url', 'https://id.example.com/a', '--token-url', 'https://id.example.com/t'];
  const client = ['--client-id', 'me', '--client-secret', 'env:NOT_SET_ANYWHERE'];
  for (const args of [
    ['corp-api', ...client],
    ['desk', ...urls, ...client, '--allowed-domains', 'a.example'],
  ]) {
    const { exit, stderr } = await at.run(['connect', ...args]);
    expect([exit, stderr]).toEqual([2, expect.stringContaining('NOT_SET_ANYWHERE')]);
    expect(await readFile(at.configFile, 'utf8')).toBe(before);
  }
  const { stderr } = await at.run(['connect', 'desk', ...urls]);
  expect(stderr).toContain(`→ sidekey connect desk ${urls.join(' ')} --allowed-domains api.example.com`);
  const defined = ['--client-id', 'me', '--allowed-domains', 'a.example', '--print-url'];
  expect((await at.run(['connect', 'desk', ...urls, ...defined])).stderr.match(/Saved /g)).toHaveLength(1);
});

test('a single account with a custom name is mapped to the provider’s hosts without a selector', async () => {
  const at = await corpHome();
  const only = await at.run(['connect', 'corp-api', '--token', '--name', 'work'], { input: key });
  expect(await readFile(at.configFile, 'utf8')).toContain('{ grant: work }');
  expect(only.stdout).not.toContain('+grant=');
});

describe.skipIf(!hasPseudoTerminal)(
  'connect in a terminal (script of util-linux)',
  { timeout: 60_000 },
  () => {
    test('without a name lists the keys of this machine, searches the catalog, and connects the chosen provider', async () => {
      const at = await corpHome();
      const { until, type, screen, ended } = connectIn(at, [], { CORP_KEY: key });
      await until((text) => text.includes('Connect which provider?'));
      expect(screen()).toContain('corp-api: CORP_KEY in the environment');
      type('nosuch\r');
      await until((text) => text.includes('No provider has "nosuch" in its name.'));
      type('git\r');
      await until((text) => /\bgithub\b.*\bgitlab\b/.test(text));
      type('corp\r');
      await until((text) => text.includes('Use CORP_KEY in the environment? [Y/n]'));
      type('\r');
      expect((await ended).exit).toBe(0);
      expect(screen()).toContain('Connected corp-api.');
      expect(screen()).not.toContain(key);
      expect(await storedNames(at)).toEqual(['corp-api']);
    });

    test('without a name and without an answer stores nothing', async () => {
      const at = await corpHome();
      const { until, type, screen, ended } = connectIn(at, []);
      await until((text) => text.includes('Connect which provider?'));
      type('\r');
      expect((await ended).exit).toBe(2);
      expect(screen()).toContain('sidekey provider list');
      expect(await storedNames(at)).toEqual([]);
    });

    test('prompts for scopes until the numbers are valid, and adds the scopes to the default', async () => {
      const known = { openid: 'Know who you are', 'write:tickets': 'Open tickets' };
      const at = await acmeHome({
        provider: {
          client_id: 'sidekey-public',
          client_secret: undefined,
          scopes: ['openid'],
          known_scopes: known,
        },
      });
      const terminal = connectIn(at, ['acme', '--no-browser']);
      const { until, type, ended } = terminal;
      await until((text) => text.includes('(Enter: the default):'));
      expect(terminal.screen()).toContain('1. Know who you are: openid (default)');
      type('7\r');
      await until((text) => text.includes('Enter numbers from 1 to 2.'));
      type('2\r');
      const { searchParams } = await consentOn(at, terminal);
      expect(searchParams.get('scope')).toBe('openid write:tickets');
      expect((await ended).exit).toBe(0);
      expect(await at.json(['grant', 'show', 'acme'])).toMatchObject({ scopes: ['openid', 'write:tickets'] });
    });

    test('seals a typed client secret: the secret is not on the screen or in any file, and renews the token', async () => {
      const at = await acmeHome({ provider: { client_auth: 'basic', client_secret: undefined } });
      const terminal = connectIn(at, ['acme', '--no-browser']);
      const { until, type, screen, ended } = terminal;
      await until((text) => text.includes('Client secret at Acme Helpdesk (not shown;'));
      type(`${secret}\r`);
      await consentOn(at, terminal);
      expect((await ended).exit).toBe(0);
      expect(screen()).not.toContain(secret);
      const everything = await bytesOf(at.folder);
      expect(everything).toContain('grant.connected');
      expect(everything).not.toContain(secret);
      expect(await at.json(['grant', 'refresh', 'acme', '--force'])).toMatchObject({ renewed: true });
    });

    test('continues as a public client after an empty client secret', async () => {
      const at = await acmeHome({
        provider: { client_id: 'sidekey-public', client_auth: 'basic', client_secret: undefined },
      });
      const terminal = connectIn(at, ['acme', '--no-browser']);
      await terminal.until((text) => text.includes('Enter if the client has none):'));
      terminal.type('\r');
      await consentOn(at, terminal);
      expect((await terminal.ended).exit).toBe(0);
      expect(await at.json(['grant', 'refresh', 'acme', '--force'])).toMatchObject({ renewed: true });
    });

    test('asks before it replaces a working grant, and replaces the grant only after a yes', async () => {
      const at = await corpHome();
      await at.run(['connect', 'corp-api', '--token'], { input: key });
      const before = await at.json(['grant', 'show', 'corp-api']);
      const question = 'corp-api is connected already. Replace its credential? [y/N]';

      const declined = connectIn(at, ['corp-api', '--token']);
      await declined.until((text) => text.includes(question));
      declined.type('\r');
      expect((await declined.ended).exit).not.toBe(0);
      expect(declined.screen()).toContain('for a second account, add --name NAME');
      expect(await at.json(['grant', 'show', 'corp-api'])).toEqual(before);

      const replaced = connectIn(at, ['corp-api', '--token']);
      await replaced.until((text) => text.includes(question));
      replaced.type('y\r');
      await replaced.until((text) => text.includes('(it is not shown):'));
      replaced.type(`${secondKey}\r`);
      expect((await replaced.ended).exit).toBe(0);
      expect(replaced.screen()).toContain('Connected corp-api again.');
    });
  },
);

test('connect without a terminal replaces a working grant only with --replace', async () => {
  const at = await corpHome();
  await at.run(['connect', 'corp-api', '--token'], { input: key });
  const before = await at.json(['grant', 'show', 'corp-api']);
  const command = ['connect', 'corp-api', '--token'];
  const refused = await at.run(command, { input: secondKey });
  expect(refused).toMatchObject({
    exit: 2,
    stderr: expect.stringContaining('corp-api is connected already. Its credential was not changed.'),
  });
  expect(refused.stderr).toContain('add --replace');
  expect(await at.json(['grant', 'show', 'corp-api'])).toEqual(before);
  expect(await at.run([...command, '--replace'], { input: secondKey })).toMatchObject({
    exit: 0,
    stdout: expect.stringContaining('Connected corp-api again.'),
  });
});
