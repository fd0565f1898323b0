import { chmod, writeFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { home } from '../../support/command-line.ts';
import { startUpstream, upstreamCa, upstreamHost } from '../../support/upstream.ts';

const many = [
  {
    name: 'work',
    provider: 'acme',
    accessToken: 'access-1',
    refreshToken: 'refresh-1',
    clientId: 'c',
    expiresIn: 60,
  },
  { name: 'github', user: 'alice', apiKey: 'key-2' },
];

describe('grant import', () => {
  test('stores each credential of an array, with names in camelCase', async () => {
    const at = await home();
    const ran = await at.run(['grant', 'import', '--no-verify', '--json'], { input: JSON.stringify(many) });
    expect(ran.exit).toBe(0);
    expect(JSON.parse(ran.stdout)).toMatchObject([
      { name: 'work', provider: 'acme', type: 'oauth2', refreshable: true },
      { name: 'github', provider: 'github', user: 'alice', type: 'api_key' },
    ]);
  });

  test('gives each grant the metadata and the policy of its entry', async () => {
    const at = await home();
    const input = JSON.stringify([
      {
        name: 'slack',
        type: 'oauth2',
        value: { access_token: 'a', refresh_token: 'r', client_id: 'c', scope: 'chat:write,users:read' },
        metadata: { team: 'core' },
        policy: { expires: '30d', max_ttl: '60d', max_lease_ttl: '8h', labels: ['prod'] },
      },
      { name: 'github', type: 'api_key', value: 'key-2', metadata: null },
    ]);
    const ran = await at.run(['grant', 'import', '--no-verify', '--json'], { input });
    expect(ran.exit, ran.stderr).toBe(0);
    const shown = await at.json(['grant', 'show', 'slack']);
    expect(shown).toMatchObject({
      scopes: ['chat:write', 'users:read'],
      settings: {
        expires_at: expect.any(String) as string,
        max_ttl: 60 * 86_400,
        max_lease_ttl: 8 * 3_600,
        labels: ['prod'],
        metadata: { team: 'core' },
      },
    });
    expect(await at.json(['grant', 'show', 'github'])).toMatchObject({ settings: { metadata: {} } });
  });

  test.each([
    [
      [...many, { name: 'slack', value: 'x', policy: { agents: ['ci'] } }],
      'Entry 3 (slack): "policy" of the credential: Unrecognized key: "agents".',
    ],
    [
      [...many, { name: 'slack', value: 'x', policy: { expires: '30d', max_ttl: '1d' } }],
      'The expiry is later than the maximum of 1d from now.',
    ],
    [[...many, { name: 'slack', value: 'x', metadata: { a: 7 } }], '"metadata.a" of the credential: '],
    [[...many, { name: 'slack', value: 'x', policy: ['30d'] }], '"policy" of the credential: '],
    [
      [...many, { name: 'slack', value: 'x', policy: { expires: '2020-01-01' } }],
      '--expires is not a time in the future.',
    ],
    [[...many, { name: 'slack', acces_token: 'x' }], 'Entry 3 (slack): The field "acces_token" is not known'],
    [[...many, { name: 'nosuch', value: 'x' }], 'Entry 3 (nosuch): '],
    [[...many, { value: 'x' }], 'Entry 3: The provider of the credential is missing.'],
    [[...many, 'x'], 'Entry 3: This is not an object.'],
    [[...many, { name: 7, value: 'x' }], 'Entry 3: "name" must be a string.'],
    [[...many, many[0]], 'The name work appears twice in the input.'],
    [[many[1], { name: 'old', provider: 'acme', value: 'x' }], 'There is a grant old already.'],
    [[], 'The array is empty.'],
  ])('stores nothing for %j', async (input, sentence) => {
    const at = await home();
    await at.grant('old', { api_key: 'before' });
    const ran = await at.run(['grant', 'import'], { input: JSON.stringify(input) });
    expect(ran).toMatchObject({ exit: 2, stderr: expect.stringContaining(sentence) });
    expect(await at.json(['grant', 'list'])).toMatchObject([{ name: 'old' }]);
  });

  test('refuses a single name or audience for several credentials', async () => {
    const at = await home();
    const input = JSON.stringify(many);
    for (const args of [['x'], ['--audience', 'api.acme.test']])
      expect((await at.run(['grant', 'import', ...args], { input })).stderr).toContain(
        'is for one credential',
      );
    expect(await at.json(['grant', 'list'])).toEqual([]);
  });

  test('reads a bare token from a file, for the provider with the name of the grant', async () => {
    const at = await home();
    await writeFile(at.at('token'), 'Bearer ghp_0123456789\n');
    await chmod(at.at('token'), 0o644);
    const ran = await at.run(['grant', 'import', 'github', '--no-verify', '--file', at.at('token')]);
    expect(ran).toMatchObject({ exit: 0, stdout: expect.stringMatching(/^Stored github\.\n/) });
    expect(ran.stderr).toContain('every user of this machine can read');
    // The command may still fail, so the only copy of a secret must not be deleted yet.
    expect(ran.stderr).toContain('→ chmod 600 ');
    const missing = await at.run(['grant', 'import', 'github', '--file', at.at('nothing')]);
    expect(missing).toMatchObject({
      exit: 2,
      stderr: expect.stringContaining('The file of --file cannot be read (ENOENT).'),
    });
  });
});

/** A home with the provider corp, whose API knows the key `good`. */
async function corpHome() {
  const asked: (string | undefined)[] = [];
  const upstream = await startUpstream(({ headers: { authorization } }, response) => {
    asked.push(authorization);
    response
      .writeHead(authorization === 'Bearer good' ? 200 : 401)
      .end('{"user":{"login":"alice"},"nothing":null,"key":"good"}');
  });
  const at = await home({
    upstream: {
      ca: ['upstream-ca.pem'],
      resolve: { [upstreamHost]: '127.0.0.1' },
      private_addresses: ['127.0.0.1/32'],
    },
    providers: {
      corp: {
        title: 'Corp',
        audience: [upstream.authority],
        token_endpoint: `${upstream.url}/token`,
        probe: { url: `${upstream.url}/me`, account_fields: ['user.login', 'nothing', 'key'] },
      },
      shop: {
        audience: [upstream.authority],
        probe: { url: `${upstream.url}/me` },
        inject: { cookie: 'sid' },
      },
    },
  });
  await writeFile(at.at('config', 'upstream-ca.pem'), upstreamCa);
  return { at, asked, upstream };
}

describe('the verification of imported credentials', () => {
  test('stores nothing if the provider refuses one of several credentials, and names that credential', async () => {
    const { at, asked } = await corpHome();
    const input = JSON.stringify([
      { name: 'first', provider: 'corp', value: 'good' },
      { name: 'second', provider: 'corp', value: 'bad' },
    ]);
    const ran = await at.run(['grant', 'import'], { input });
    expect(ran).toMatchObject({
      exit: 5,
      stderr: expect.stringContaining('Entry 2 (second): Corp does not accept the credential (HTTP 401)'),
    });
    expect(asked).toEqual(['Bearer good', 'Bearer bad']);
    expect(await at.json(['grant', 'list'])).toEqual([]);
    const { stdout } = await at.run(['audit', 'query', '--event', 'access', '--json']);
    expect(stdout.match(/"reason":"verification"/g)).toHaveLength(2);
  });

  test('is reported if the provider accepts the credential', async () => {
    const { at } = await corpHome();
    const ran = await at.run(['grant', 'import', 'corp'], { input: 'good' });
    expect(ran).toMatchObject({
      exit: 0,
      stdout: expect.stringContaining('Corp accepts the credential (HTTP 200)'),
    });
  });

  test('shows the account in grant show, and omits a field that contains the credential', async () => {
    const { at } = await corpHome();
    const { stdout } = await at.run(['grant', 'import', 'corp'], { input: 'good' });
    expect(stdout).toMatch(/account +alice\n/);
    expect(await at.json(['grant', 'show', 'corp'])).toMatchObject({
      account: 'alice',
      account_details: { 'user.login': 'alice' },
    });
  });

  test('is skipped with --no-verify', async () => {
    const { at, asked } = await corpHome();
    const ran = await at.run(['grant', 'import', 'corp', '--no-verify'], { input: 'bad' });
    expect(ran).toMatchObject({ exit: 0, stdout: expect.stringContaining('not verified: --no-verify') });
    expect(asked).toEqual([]);
  });

  test('stores nothing if the provider is unreachable', async () => {
    const { at, upstream } = await corpHome();
    await upstream.close();
    const ran = await at.run(['grant', 'import', 'corp'], { input: 'good' });
    expect(ran).toMatchObject({ exit: 6, stderr: expect.stringContaining('--no-verify') });
    expect(await at.json(['grant', 'list'])).toEqual([]);
  });

  test.each([
    ['only a refresh token', { refresh_token: 'r', client_id: 'c' }, [], 'it has no access token yet'],
    [
      'a token that has ended',
      { access_token: 'a', refresh_token: 'r', client_id: 'c', expires_at: Date.now() / 1_000 - 60 },
      [],
      'its token has ended',
    ],
    [
      'a key for other hosts',
      { value: 'good' },
      ['--audience', 'api.acme.test'],
      'which is not in its audience',
    ],
    ['a key that fits no request', { value: 'two words' }, ['--provider', 'shop'], 'no request can carry it'],
  ])('sends nothing for %s, and reports why', async (_what, credential, args, why) => {
    const { at, asked } = await corpHome();
    const ran = await at.run(['grant', 'import', 'corp', ...args], { input: JSON.stringify(credential) });
    expect(ran, ran.stderr).toMatchObject({ exit: 0, stdout: expect.stringContaining('not verified: ') });
    expect(ran.stdout).toContain(why);
    expect(asked).toEqual([]);
  });
});
