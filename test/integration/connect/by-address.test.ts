/**
 * `connect NAME --auth-url …`: a service that is no provider yet, by the addresses of its authorization
 * server.
 */
import { readFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { acmeHome, type AcmeHome } from '../../support/connect-home.ts';

const client = (at: AcmeHome) => [
  '--client-id',
  at.helpdesk.clientId,
  '--client-secret',
  'env:ACME_SECRET',
  '--allowed-domains',
  at.authority,
];

async function definition(at: AcmeHome, name: string): Promise<Readonly<Record<string, unknown>>> {
  const { providers } = parse(await readFile(at.configFile, 'utf8')) as {
    readonly providers: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  };
  return providers[name] ?? {};
}

describe('connect NAME --auth-url', () => {
  test('takes the other endpoints from what the server says of itself', async () => {
    const at = await acmeHome();
    const { issuer } = at.helpdesk;
    const scopes = ['--scope', 'openid', '--scope', 'read:tickets'];
    const args = ['connect', 'desk', '--auth-url', `${issuer}/authorize`, ...scopes, ...client(at)];
    const command = at.begin([...args, '--paste']);
    const [url = ''] = /https:\/\/\S+\/authorize\?\S+/.exec(await command.said(/\/authorize\?\S+\s/)) ?? [];
    const callback = await at.consent(url);
    command.stdin.write(`${callback.href}\n`);
    expect(await command.done).toMatchObject({
      exit: 0,
      stderr: expect.stringContaining(`with what ${issuer} says of itself`),
    });
    expect(await definition(at, 'desk')).toMatchObject({
      authorization_endpoint: `${issuer}/authorize`,
      token_endpoint: `${issuer}/token`,
      revocation_endpoint: `${issuer}/revoke`,
      issuer,
      audience: [at.authority],
    });
    const again = await at.run([...args, '--print-url', '--replace']);
    expect(again).toMatchObject({ exit: 0, stderr: expect.not.stringContaining('Saved') });
  });

  test('asks only the issuer that --issuer names', async () => {
    const at = await acmeHome();
    const { issuer } = at.helpdesk;
    const args = ['connect', 'desk', '--auth-url', `${issuer}/authorize`, ...client(at), '--print-url'];
    const elsewhere = await at.run([...args, '--issuer', `${issuer}/elsewhere`]);
    expect(elsewhere).toMatchObject({ exit: 2, stderr: expect.stringContaining('--token-url') });
    expect(await definition(at, 'desk')).toEqual({});
    expect(await at.run([...args, '--issuer', issuer])).toMatchObject({ exit: 0 });
  });

  test('says what to add if the server does not know the address', async () => {
    const at = await acmeHome();
    const args = ['connect', 'desk', '--auth-url', `${at.helpdesk.issuer}/signin`, ...client(at)];
    expect(await at.run(args)).toMatchObject({
      exit: 2,
      stderr: expect.stringContaining('does not say where the tokens of this login come from'),
    });
  });

  test('takes the address that names the account', async () => {
    const at = await acmeHome();
    const { issuer } = at.helpdesk;
    const urls = ['--auth-url', `${issuer}/authorize`, '--token-url', `${issuer}/token`];
    const args = ['connect', 'desk', ...urls, '--userinfo-url', `${issuer}/userinfo`, ...client(at)];
    expect(await at.run([...args, '--print-url'])).toMatchObject({ exit: 0 });
    expect(await definition(at, 'desk')).toMatchObject({ userinfo_endpoint: `${issuer}/userinfo` });
  });
});

describe('connect --print-url --state', () => {
  const state = 'ci-run-4711.abcdefghijklmnop';

  test('begins a consent with the state of the caller', async () => {
    const at = await acmeHome();
    const printed = (await at.json(['connect', 'acme', '--print-url', '--state', state])) as {
      readonly consent_url: string;
      readonly state: string;
    };
    expect(printed.state).toBe(state);
    const callback = await at.consent(printed.consent_url);
    expect(callback.searchParams.get('state')).toBe(state);
    expect(await at.run(['connect', '--finish', callback.href])).toMatchObject({ exit: 0 });
  });

  test('refuses a state that waits already', async () => {
    const at = await acmeHome();
    await at.json(['connect', 'acme', '--print-url', '--state', state]);
    expect(await at.run(['connect', 'acme', '--print-url', '--state', state])).toMatchObject({
      exit: 2,
      stderr: expect.stringContaining('choose another state'),
    });
  });

  test.each(['short', 'a state with spaces and much length', 'a'.repeat(257)])(
    'refuses a state that can be guessed, or that no address takes: %s',
    async (bad) => {
      const at = await acmeHome();
      expect(await at.run(['connect', 'acme', '--print-url', '--state', bad])).toMatchObject({
        exit: 2,
        stderr: expect.stringContaining('openssl rand -hex 16'),
      });
    },
  );

  test('is refused without --print-url and --finish', async () => {
    const at = await acmeHome();
    expect(await at.run(['connect', 'acme', '--state', state])).toMatchObject({
      exit: 2,
      stderr: expect.stringContaining('--state belongs to --print-url or --finish.'),
    });
  });
});
