/** `connect https://…`: an API says where its tokens come from, and Sidekey registers itself there. */
import { readFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { acmeHome, type AcmeHome } from '../../support/connect-home.ts';

interface Written {
  readonly providers: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
}

async function discovered(at: AcmeHome, ...more: readonly string[]) {
  const args = ['connect', at.helpdesk.issuer, '--name', 'desk', '--paste', ...more];
  const command = at.begin(args);
  // Its first words name the server; the address of the consent page comes after.
  const [url = ''] = /https:\/\/\S+\/authorize\?\S+/.exec(await command.said(/\/authorize\?\S+\s/)) ?? [];
  const callback = await at.consent(url);
  command.stdin.write(`${callback.href}\n`);
  return command.done;
}

const config = async (at: AcmeHome) => parse(await readFile(at.configFile, 'utf8')) as Written;

describe('an API that publishes its authorization server', () => {
  test('is connected without configuration', async () => {
    const at = await acmeHome();
    expect(await discovered(at)).toMatchObject({
      exit: 0,
      stdout: expect.stringContaining('Connected desk.'),
    });
    const { issuer } = at.helpdesk;
    const { providers } = await config(at);
    expect(providers['desk']).toEqual({
      authorization_endpoint: `${issuer}/authorize`,
      token_endpoint: `${issuer}/token`,
      revocation_endpoint: `${issuer}/revoke`,
      issuer,
      authorization_response_iss_parameter_supported: true,
      client_id: expect.any(String),
      client_auth: 'none',
      scopes: ['read:tickets', 'write:tickets', 'offline_access'],
      audience: [at.authority],
      dialect: {
        authorization_parameters: { prompt: 'consent', resource: `${issuer}/` },
        token_parameters: { resource: `${issuer}/` },
      },
    });
    expect(await at.json(['grant', 'refresh', 'desk', '--force'])).toMatchObject({ renewed: true });
  });

  test('reuses the registered client when connected again', async () => {
    const at = await acmeHome();
    await discovered(at);
    const before = await config(at);
    expect((await discovered(at, '--replace')).exit).toBe(0);
    expect(await config(at)).toEqual(before);
    expect(await at.json(['grant', 'list'])).toHaveLength(1);
  });

  test('does not take the name of a provider for another host', async () => {
    const at = await acmeHome();
    const args = ['connect', 'https://elsewhere.acme.test', '--discover', '--name', 'acme'];
    expect(await at.run(args)).toMatchObject({
      exit: 2,
      stderr: expect.stringContaining('There is a provider acme already'),
    });
    expect(await at.run(['connect', at.helpdesk.issuer, '--discover', '--name', 'github'])).toMatchObject({
      exit: 2,
      stderr: expect.stringContaining('There is a provider github already'),
    });
  });
});

describe('an API that cannot be discovered', () => {
  test.each([
    ['http://api.company.test', 'takes the https address of an API'],
    ['github', 'takes the https address of an API'],
  ])('%s', async (address, sentence) => {
    const at = await acmeHome();
    expect(await at.run(['connect', address, '--discover'])).toMatchObject({
      exit: 2,
      stderr: expect.stringContaining(sentence),
    });
  });

  test('if its address must not be dialed', async () => {
    const at = await acmeHome();
    expect(await at.run(['connect', 'https://127.0.0.2', '--discover', '--name', 'local'])).toMatchObject({
      exit: 2,
      stderr: expect.stringContaining('private_addresses'),
    });
    expect((await config(at)).providers).not.toHaveProperty('local');
  });
});

describe('an invalid option is refused before the config file gets a provider:', () => {
  test.each([
    ['--timeout', 'soon'],
    ['--meta', 'team'],
    ['--user', '-'],
    ['--name', '-'],
    ['--scope', ',', '--client-id', 'by-hand'],
    ['--port', '70000'],
    ['--device', '--paste'],
  ])('%s %s', async (...words) => {
    const at = await acmeHome();
    const { issuer } = at.helpdesk;
    const before = await config(at);
    const manual = ['desk', '--auth-url', `${issuer}/authorize`, '--allowed-domains', at.authority];
    for (const named of [[issuer], manual]) {
      const ran = await at.run(['connect', ...named, ...words]);
      expect(ran, ran.stderr).toMatchObject({ exit: 2 });
      expect(await config(at)).toEqual(before);
    }
  });
});
