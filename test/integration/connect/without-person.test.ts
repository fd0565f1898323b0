import { chmod, readFile, writeFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import {
  homeWithProvider,
  grantsOf,
  lastEvent,
  homeForProvider,
  type Answer,
} from '../../support/provider-home.ts';
import { startOAuthServer } from '../../support/oauth-server.ts';
import { aKey, verified } from '../../unit/grants/keys-for-test.ts';

const numbered: Answer = (_asked, count) => [
  200,
  { access_token: `access-${count}`, token_type: 'Bearer', expires_in: 3600 },
];
const signing = () => ({ flows: ['authorization_code', 'jwt_bearer'] });
const exchanging = () => ({ client_id: 'desk', flows: ['token_exchange'] });
const type = (name: string) => `urn:ietf:params:oauth:token-type:${name}`;
const app = (url: string) => ({
  token_endpoint: `${url}/app/installations`,
  flows: ['github_installation'],
});
const issued: Answer = (_asked, count) => [
  201,
  { token: `ghs_${count}`, expires_at: new Date(Date.now() + 3_600_000).toISOString() },
];

describe('connect --client-credentials', () => {
  test('gets a token at once from a real authorization server, and later tokens automatically', async () => {
    const server = await startOAuthServer();
    const at = await homeForProvider(server.issuer, {
      client_id: server.clientId,
      client_secret: 'env:DESK_SECRET',
    });
    const env = { DESK_SECRET: server.clientSecret };
    const connected = await at.json(['connect', 'desk', '--client-credentials', '--scope', 'read'], { env });
    expect(connected).toMatchObject({
      provider: 'desk',
      state: 'active',
      scopes: ['read'],
      refreshable: true,
      revision: 1,
    });
    expect(await at.json(['grant', 'refresh', 'desk', '--force'], { env })).toMatchObject({
      renewed: true,
      revision: 2,
    });
  });

  test('keeps its parameters, and the ID of a grant that is connected again', async () => {
    const at = await homeWithProvider(numbered, () => ({
      client_id: 'robot',
      client_secret: 'env:DESK_SECRET',
    }));
    const env = { DESK_SECRET: 'the-secret-of-the-robot' };
    const args = ['connect', 'desk', '--client-credentials', '--param', 'audience=https://api.acme.test'];
    const first = await at.json(args, { env });
    await at.json(['grant', 'refresh', 'desk', '--force'], { env });
    expect(at.asked.map(({ form }) => form)).toEqual([
      { grant_type: 'client_credentials', audience: 'https://api.acme.test' },
      { grant_type: 'client_credentials', audience: 'https://api.acme.test' },
    ]);
    const again = await at.json([...args, '--replace'], { env });
    expect(again).toMatchObject({ id: (first as { id: string }).id, replaced: true });
  });

  test.each([
    ['no client', {}, 2, /has no client id/],
    ['no secret', { client_id: 'robot' }, 2, /has no client secret/],
    [
      'a secret that is not there',
      { client_id: 'robot', client_secret: 'env:NOT_SET' },
      2,
      /NOT_SET is not set/,
    ],
  ])('with %s sends no request, and stores nothing', async (_what, provider, exit, message) => {
    const at = await homeWithProvider(numbered, () => provider);
    const ran = await at.run(['connect', 'desk', '--client-credentials']);
    expect(ran).toMatchObject({ exit, stdout: '', stderr: expect.stringMatching(message) });
    expect(at.asked).toEqual([]);
    expect(await grantsOf(at)).toEqual([]);
  });

  test('reports why the request was refused, without the secret, and stores nothing', async () => {
    const at = await homeWithProvider(
      () => [401, { error: 'invalid_client', error_description: 'the-secret-of-the-robot is wrong' }],
      () => ({ client_id: 'robot', client_secret: 'env:DESK_SECRET' }),
    );
    const ran = await at.run(['connect', 'desk', '--client-credentials'], {
      env: { DESK_SECRET: 'the-secret-of-the-robot' },
    });
    expect(ran.exit).toBe(5);
    expect(ran.stderr).toBe(
      'sidekey: The Desk gave no token (invalid_client: [redacted] is wrong).\n' +
        '  → check client_id, client_secret and token_endpoint of the provider "desk", and that the scopes are allowed for the client\n',
    );
    expect(await grantsOf(at)).toEqual([]);
    expect(await lastEvent(at)).toMatchObject({ event: 'grant.connected', outcome: 'failed' });
  });

  test.each([
    ['hunter2', /--param is not NAME=VALUE/],
    ['client_secret=hunter2', /--param cannot set client_secret/],
    ['grant_type=password', /--param cannot set grant_type/],
  ])('--param %s is refused', async (param, message) => {
    const at = await homeWithProvider(numbered, () => ({
      client_id: 'robot',
      client_secret: 'env:DESK_SECRET',
    }));
    const ran = await at.run(['connect', 'desk', '--client-credentials', '--param', param], {
      env: { DESK_SECRET: 's' },
    });
    expect(ran).toMatchObject({ exit: 2, stderr: expect.stringMatching(message) });
    expect(ran.stderr).not.toContain('hunter2');
    expect(at.asked).toEqual([]);
  });
});

describe('connect --jwt-bearer', () => {
  const key = aKey('RS256');
  const account = (url: string, more: object = {}) =>
    JSON.stringify({
      type: 'service_account',
      client_email: 'robot@acme.test',
      private_key: key.privateKey,
      private_key_id: 'key-1',
      token_uri: `${url}/token`,
      ...more,
    });

  test('uses a service account file unchanged, and signs each assertion again', async () => {
    const at = await homeWithProvider(numbered, signing);
    await writeFile(at.at('key.json'), account(at.url), { mode: 0o600 });
    const args = ['connect', 'desk', '--jwt-bearer', '--key', 'key.json', '--scope', 'read write'];
    const connected = await at.run(args);
    expect(connected, connected.stderr).toMatchObject({ exit: 0 });
    expect(await at.json(['grant', 'refresh', 'desk', '--force'])).toMatchObject({
      renewed: true,
      revision: 2,
    });
    const said = await Promise.all(at.asked.map(({ form }) => verified(form['assertion'], key, Date.now())));
    expect(said).toMatchObject([
      {
        header: { kid: 'key-1' },
        payload: { iss: 'robot@acme.test', aud: `${at.url}/token`, scope: 'read write' },
      },
      { header: { kid: 'key-1' } },
    ]);
    expect(said[0]?.payload.jti).not.toBe(said[1]?.payload.jti);
    expect(connected.stdout + connected.stderr).not.toMatch(/PRIVATE|eyJ/);
  });

  test('accepts a key from standard input, with the claims from the options', async () => {
    const at = await homeWithProvider(numbered, signing);
    const args = [
      '--issuer',
      'app',
      '--subject',
      'alice@acme.test',
      '--assertion-audience',
      'https://acme.test',
    ];
    await at.json(['connect', 'desk', '--jwt-bearer', '--key', '-', '--key-id', 'k2', ...args], {
      input: key.privateKey,
    });
    expect(await verified(at.asked[0]?.form['assertion'], key, Date.now())).toMatchObject({
      header: { kid: 'k2' },
      payload: { iss: 'app', sub: 'alice@acme.test', aud: 'https://acme.test' },
    });
  });

  test('refuses a service account of another service, unless --assertion-audience names that service', async () => {
    const at = await homeWithProvider(numbered, signing);
    const other = account(at.url, { token_uri: 'https://oauth2.other.test/token' });
    const args = ['connect', 'desk', '--jwt-bearer', '--key', '-'];
    const ran = await at.run(args, { input: other });
    expect(ran).toMatchObject({
      exit: 2,
      stderr: expect.stringContaining('https://oauth2.other.test/token'),
    });
    expect(at.asked).toEqual([]);
    const meant = await at.run([...args, '--assertion-audience', 'https://oauth2.other.test/token'], {
      input: other,
    });
    expect(meant.exit, meant.stderr).toBe(0);
  });

  test('warns that a key file is readable by others', async () => {
    const at = await homeWithProvider(numbered, signing);
    await writeFile(at.at('key.json'), account(at.url));
    await chmod(at.at('key.json'), 0o644);
    const ran = await at.run(['connect', 'desk', '--jwt-bearer', '--key', 'key.json']);
    expect(ran.stderr).toContain('every user of this machine can read key.json');
  });

  test.each([
    ['no key', [], '', /The private key is missing/],
    ['a file that is not there', ['--key', 'nowhere.pem'], '', /cannot be read \(ENOENT\)/],
    ['a folder', ['--key', '.'], '', /cannot be read/],
    ['no key in it', ['--key', '-', '--issuer', 'i'], 'hunter2', /cannot be read/],
    ['half a service account', ['--key', '-'], '{"private_key":"hunter2"}', /lacks its client_email/],
    ['no issuer', ['--key', '-'], key.privateKey, /issuer of the assertions is missing/],
  ])('with %s is refused', async (_what, args, input, message) => {
    const at = await homeWithProvider(numbered, signing);
    const ran = await at.run(['connect', 'desk', '--jwt-bearer', ...args], { input });
    expect(ran).toMatchObject({ exit: 2, stderr: expect.stringMatching(message) });
    expect(ran.stderr).not.toContain('hunter2');
    expect(at.asked).toEqual([]);
  });

  test('that is refused suggests to check the clock and the key', async () => {
    const at = await homeWithProvider(
      () => [400, { error: 'invalid_grant', error_description: 'Invalid JWT Signature.' }],
      signing,
    );
    const ran = await at.run(['connect', 'desk', '--jwt-bearer', '--key', '-'], { input: account(at.url) });
    expect(ran).toMatchObject({
      exit: 5,
      stderr: expect.stringContaining('invalid_grant: Invalid JWT Signature'),
    });
    expect(ran.stderr).toContain('check that the clock of this machine is right');
  });
});

describe('connect --token-exchange', () => {
  test('reads the token again for each exchange, from any kind of reference', async () => {
    const at = await homeWithProvider(numbered, exchanging);
    await writeFile(at.at('subject'), 'subject-1\n', { mode: 0o600 });
    await at.json([
      'connect',
      'desk',
      '--token-exchange',
      '--subject-token=file:subject',
      '--subject-token-type=jwt',
      '--requested-token-type=access_token',
      '--param=audience=api',
    ]);
    await writeFile(at.at('subject'), 'subject-2\n', { mode: 0o600 });
    expect(await at.json(['grant', 'refresh', 'desk', '--force'])).toMatchObject({ renewed: true });
    expect(at.asked.map(({ form }) => form)).toMatchObject([
      {
        grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
        client_id: 'desk',
        subject_token: 'subject-1',
        subject_token_type: type('jwt'),
        requested_token_type: type('access_token'),
        audience: 'api',
      },
      { subject_token: 'subject-2', audience: 'api' },
    ]);
  });

  test('stores a token from standard input, and reads the actor token from its reference', async () => {
    const at = await homeWithProvider(numbered, exchanging);
    const env = { ACTOR: 'the-actor' };
    await at.json(['connect', 'desk', '--token-exchange', '--actor-token', 'env:ACTOR'], {
      input: 'the-subject\n',
      env,
    });
    await at.json(['grant', 'refresh', 'desk', '--force'], { env });
    const form = {
      subject_token: 'the-subject',
      subject_token_type: type('access_token'),
      actor_token: 'the-actor',
      actor_token_type: type('access_token'),
    };
    expect(at.asked.map((one) => one.form)).toMatchObject([form, form]);
    expect((await readFile(at.at('data', 'sidekey.db'))).includes('the-subject')).toBe(false);
  });

  test('reports that a permanently refused token must be replaced', async () => {
    const at = await homeWithProvider(
      (asked, count) =>
        count === 1 ? numbered(asked, count) : [400, { error: 'invalid_grant', error_description: 'gone' }],
      exchanging,
    );
    await at.json(['connect', 'desk', '--token-exchange'], { input: 'the-subject' });
    const ran = await at.run(['grant', 'refresh', 'desk', '--force']);
    expect(ran).toMatchObject({ exit: 4, stderr: expect.stringContaining('that was to be exchanged: gone') });
    expect(ran.stderr).toContain('→ sidekey connect desk --token-exchange');
  });

  test.each([
    ['a token in argv', ['--subject-token', 'hunter2'], '', /--subject-token is not a reference/],
    ['an actor in argv', ['--actor-token', 'hunter2'], 'x', /--actor-token is not a reference/],
    ['an invalid type', ['--subject-token-type', 'hunter2'], 'x', /--subject-token-type is not a token type/],
    ['a type of an actor token without the token', ['--actor-token-type', 'jwt'], 'x', /needs --actor-token/],
    ['nothing to exchange', [], '', /is empty/],
    ['a file that is not there', ['--subject-token', 'file:nowhere'], '', /cannot be read/],
  ])('with %s is refused', async (_what, args, input, message) => {
    const at = await homeWithProvider(numbered, exchanging);
    const ran = await at.run(['connect', 'desk', '--token-exchange', ...args], { input });
    expect(ran).toMatchObject({ exit: 2, stderr: expect.stringMatching(message) });
    expect(ran.stderr).not.toContain('hunter2');
    expect(at.asked).toEqual([]);
  });
});

describe('connect --installation-id', () => {
  const key = aKey('RS256');

  test('gets tokens of the installation with the key of the app', async () => {
    const at = await homeWithProvider(issued, app);
    await writeFile(at.at('app.pem'), key.privateKey, { mode: 0o600 });
    const args = ['--app-id', 'Iv23li', '--installation-id', '42', '--key', 'app.pem'];
    expect(await at.json(['connect', 'desk', ...args])).toMatchObject({ state: 'active', refreshable: true });
    expect(await at.json(['grant', 'refresh', 'desk', '--force'])).toMatchObject({ renewed: true });
    expect(at.asked.map(({ path }) => path)).toEqual(
      Array.from({ length: 2 }, () => '/app/installations/42/access_tokens'),
    );
    const jwt = at.asked[0]?.headers.authorization?.replace('Bearer ', '');
    expect((await verified(jwt, key, Date.now())).payload).toMatchObject({ iss: 'Iv23li' });
  });

  test('reports that a removed installation must be installed again', async () => {
    const at = await homeWithProvider(
      (asked, count) => (count === 1 ? issued(asked, count) : [404, { message: 'Not Found' }]),
      app,
    );
    const args = ['--app-id', '17', '--installation-id', '42', '--key', '-'];
    await at.json(['connect', 'desk', ...args], { input: key.privateKey });
    const ran = await at.run(['grant', 'refresh', 'desk', '--force']);
    expect(ran).toMatchObject({ exit: 4, stderr: expect.stringContaining('not installed there any more') });
    expect(ran.stderr).toContain('→ sidekey connect desk --app-id 17 --installation-id 42 --key FILE');
  });

  test.each([
    ['no app', ['--installation-id', '42'], /ID of the app is missing/],
    ['no number', ['--app-id', '17', '--installation-id', 'x/../y'], /is not a number/],
    ['what is no app', ['--app-id', 'a b', '--installation-id', '42'], /not the ID of an app/],
  ])('with %s is refused', async (_what, args, message) => {
    const at = await homeWithProvider(issued, app);
    const ran = await at.run(['connect', 'desk', ...args, '--key', '-'], { input: key.privateKey });
    expect(ran).toMatchObject({ exit: 2, stderr: expect.stringMatching(message) });
    expect(at.asked).toEqual([]);
  });
});

describe('connect NAME --token-url', () => {
  const urls = ['--auth-url', 'https://id.acme.test/authorize', '--token-url'];

  test('stores the definition, and the next connect needs only the name', async () => {
    const at = await homeWithProvider(numbered);
    const env = { ACME_SECRET: 'the-secret-of-acme' };
    const given = ['--client-credentials', '--client-id', 'robot', '--client-secret', 'env:ACME_SECRET'];
    const scopes = ['--scope', 'read', '--scope', 'write,admin'];
    const ran = await at.run(
      ['connect', 'crm', ...urls, `${at.url}/t`, ...given, ...scopes, '--allowed-domains', 'api.acme.test'],
      { env },
    );
    expect(ran).toMatchObject({ exit: 0, stdout: expect.stringContaining('Connected crm.') });
    expect(ran.stderr.match(/Saved .*/g)).toEqual(['Saved providers.crm in config/sidekey.yaml.']);
    expect(at.asked[0]).toMatchObject({ path: '/t', form: { scope: 'read write admin' } });
    expect(await at.json(['provider', 'show', 'crm'])).toMatchObject({ audience: ['api.acme.test'] });
    const again = ['connect', 'crm', '--client-credentials', '--replace'];
    expect(await at.run(again, { env })).toMatchObject({ exit: 0 });
    expect(await at.run([...again, ...urls, `${at.url}/t`], { env })).toMatchObject({ exit: 0 });
  });

  test.each([
    [['crm', '--userinfo-url', 'https://id.acme.test/u'], '--userinfo-url goes with --auth-url.'],
    [
      [
        'crm',
        ...urls,
        'https://id.acme.test/t',
        '--userinfo-url',
        'http://id.acme.test/u',
        '--allowed-domains',
        'a',
      ],
      '--userinfo-url is not an https address.',
    ],
    [['crm', '--token-url', 'http://id.acme.test/t'], '--token-url is not an https address.'],
    [
      ['crm', '--token-url', 'https://id.acme.test/t'],
      '→ sidekey connect crm --token-url https://id.acme.test/t --allowed-domains api.example.com\n',
    ],
    [
      ['crm', '--token-url', 'https://id.acme.test/t', '--allowed-domains', 'a b'],
      '--allowed-domains: "a b"',
    ],
    [
      ['desk', '--token-url', 'https://evil.test/t'],
      '/token instead of https://evil.test/t.\n  → change it: sidekey config edit; or use another name: sidekey connect my-desk --token-url https://evil.test/t --allowed-domains ',
    ],
    [
      ['desk', '--auth-url', 'https://evil.test/a'],
      'The config file has a provider desk already, with --auth-url unset instead of https://evil.test/a.',
    ],
    [
      [
        'github',
        ...urls,
        'https://id.acme.test/t',
        '--allowed-domains',
        'a.test',
        '--allowed-domains',
        'b.test',
      ],
      'github is the name of a built-in provider (GitHub).\n  → use another name: sidekey connect my-github --auth-url https://id.acme.test/authorize --token-url https://id.acme.test/t --allowed-domains a.test,b.test\n',
    ],
  ])('%j is refused, and the config file is unchanged', async (args, sentence) => {
    const at = await homeWithProvider(numbered);
    const before = await readFile(at.configFile, 'utf8');
    const ran = await at.run(['connect', ...args, '--client-credentials']);
    expect(ran).toMatchObject({ exit: 2, stderr: expect.stringContaining(sentence) });
    expect(await readFile(at.configFile, 'utf8')).toBe(before);
  });
});
