import { describe, expect, test } from 'vitest';
import { linesOf, packagesMissing, startPython, systemPython } from '../../support/python-program.ts';
import { startService } from '../../support/service.ts';
import { startTokenServer } from '../../support/token-server.ts';

/** Each call of the page "Tokens API" of Agents Gateway, with all members of its answers. */

const hour = 3_600_000;
const start = Date.UTC(2025, 0, 15, 10);

/** A program for that API, which knows the base address and the key. */
function agentsGateway(baseUrl: string, apiKey: string) {
  return async (request: string, body?: unknown) => {
    const [method = '', path = ''] = request.split(' ');
    const response = await fetch(`${baseUrl}/v2/users/${path}`, {
      method,
      headers: { 'X-API-Key': apiKey, 'Content-Type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    return { status: response.status, body: await response.json() };
  };
}

const tokenScopes = ['grants:read', 'tokens:write', 'tokens:read', 'tokens:refresh_token'];

/** A service on 15 January 2025 at 10:00 UTC, whose provider `google` is a server of this test. */
async function startGateway({ scopes = tokenScopes } = {}) {
  const server = await startTokenServer({ expiresIn: 3_600 });
  const clock = { now: start };
  const service = await startService({
    now: () => clock.now,
    config: {
      providers: { google: { token_endpoint: `${server.url}/token/desk`, audience: [server.authority] } },
    },
  });
  const { call, key, url, sidekey } = service;
  return { call, clock, key, server, sidekey, url, send: agentsGateway(url, await key({ scopes })) };
}

const uuid = expect.stringMatching(/^[0-9a-f-]{36}$/) as string;
const at = (ms: number) => new Date(start + ms).toISOString();
/** Members that an entry of the list has on the page, and those that no page has. */
const more = { created_at: at(0), updated_at: at(0), grant_id: uuid, state: 'active' };

/** The body of the page, with tokens of the stand-in for Google. */
function googleToken({ accessToken, refreshToken }: { accessToken: string; refreshToken: string }) {
  return {
    integration_key: 'google',
    provider: 'google',
    token_type: 'oauth2',
    token_data: {
      access_token: accessToken,
      refresh_token: refreshToken,
      token_type: 'Bearer',
      expires_in: 3_600,
      scope: 'https://www.googleapis.com/auth/calendar',
      client_id: '123456.apps.googleusercontent.com',
      client_secret: 'GOCSPX-0123456789',
    },
    scopes: ['calendar', 'email'],
    expires_at: '2025-01-16T10:00:00Z',
  };
}

const openaiToken = {
  integration_key: 'openai',
  provider: 'openai',
  token_type: 'api_key',
  token_data: { api_key: 'sk-0123456789', organization_id: 'org-123' },
};

test('an OAuth token is stored, listed, read, refreshed and deleted as on the page', async () => {
  const { clock, server, send } = await startGateway();
  const tokens = server.consent('alice');
  expect(await send('POST user-42/tokens', googleToken(tokens))).toEqual({
    status: 201,
    body: {
      integration_key: 'google',
      provider: 'google',
      token_type: 'oauth2',
      message: 'Token stored successfully for google',
      created_at: at(0),
      grant_id: uuid,
    },
  });
  const facts = {
    integration_key: 'google',
    provider: 'google',
    token_type: 'oauth2',
    scopes: ['calendar', 'email'],
    expires_at: at(24 * hour),
    is_expired: false,
    ...more,
  };
  expect(await send('GET user-42/tokens')).toEqual({ status: 200, body: [facts] });
  const data = {
    access_token: tokens.accessToken,
    refresh_token: tokens.refreshToken,
    token_type: 'Bearer',
    expires_in: 86_400,
    scope: 'https://www.googleapis.com/auth/calendar',
    client_id: '123456.apps.googleusercontent.com',
  };
  expect(await send('GET user-42/tokens/google')).toEqual({
    status: 200,
    body: { ...facts, token_data: data, refreshed: false },
  });
  clock.now += 24 * hour - 30_000;
  expect(await send('GET user-42/tokens/google')).toEqual({
    status: 200,
    body: {
      ...facts,
      expires_at: at(25 * hour - 30_000),
      updated_at: at(24 * hour - 30_000),
      token_data: {
        ...data,
        access_token: 'access.alice.1',
        refresh_token: 'refresh.alice.1',
        expires_in: 3_600,
      },
      refreshed: true,
    },
  });
  expect(await send('POST user-42/tokens/google/refresh')).toEqual({
    status: 200,
    body: {
      integration_key: 'google',
      success: true,
      message: 'Token refreshed successfully',
      refreshed_at: at(24 * hour - 30_000),
    },
  });
  expect(server.requests).toHaveLength(2);
  expect(await send('DELETE user-42/tokens/google')).toEqual({
    status: 200,
    body: { integration_key: 'google', message: 'Token for google deleted successfully' },
  });
  for (const request of ['GET', 'DELETE']) {
    expect(await send(`${request} user-42/tokens/google`)).toMatchObject({
      status: 404,
      body: { detail: 'Token not found for integration google' },
    });
  }
  expect(await send('GET user-42/tokens')).toEqual({ status: 200, body: [] });
});

const python = { ...systemPython, command: process.env['SIDEKEY_TEST_PYTHON'] ?? systemPython.command };
const noPydantic = packagesMissing(python, 'httpx', 'pydantic');

test.skipIf(noPydantic)(
  'a client with a pydantic model for each answer of the page reads all of them',
  async () => {
    const { key, server, url } = await startGateway();
    const { accessToken, refreshToken } = server.consent('alice');
    const token = { ...googleToken({ accessToken, refreshToken }), expires_at: undefined };
    const service = { url, key: () => key({ scopes: tokenScopes }) };
    const env = { TOKEN: JSON.stringify(token) };
    const program = ['test/integration/sdk/programs/tokens.py'];
    const [answers] = await linesOf(await startPython(service, program, env, python));
    const facts = { integration_key: 'google', provider: 'google', token_type: 'oauth2' };
    const read = { ...facts, scopes: ['calendar', 'email'], is_expired: false };
    expect(answers).toMatchObject([
      { ...facts, message: 'Token stored successfully for google' },
      read,
      { ...read, refreshed: false, token_data: { access_token: accessToken, refresh_token: refreshToken } },
      { integration_key: 'google', success: true, message: 'Token refreshed successfully' },
      { integration_key: 'google', message: 'Token for google deleted successfully' },
      { detail: 'Token not found for integration google' },
    ]);
  },
);

const jwt = 'eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSJ9.c2ln';
const pem = '-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----\n';

describe.each([
  ['api_key', { api_key: 'sk-0123456789' }],
  [
    'api_key',
    { api_key: 'sk-0123456789', api_secret: 'of-the-key', organization_id: 'org-123', project_id: 'p' },
  ],
  ['jwt', { token: jwt }],
  ['jwt', { token: jwt, algorithm: 'EdDSA', public_key: pem, issuer: 'https://a.example', audience: 'b' }],
] as const)('a token of the type %s with %j', (type, data) => {
  test('is read as it was stored, without unknown members and null', async () => {
    const { send } = await startGateway();
    const token = { integration_key: 'openai', provider: 'openai', token_type: type };
    const token_data = { ...data, access_token: null, session: 'unknown' };
    expect((await send('POST u/tokens', { ...token, token_data })).status).toBe(201);
    const facts = { ...token, scopes: null, expires_at: null, is_expired: false, ...more };
    expect(await send('GET u/tokens/openai')).toEqual({
      status: 200,
      body: { ...facts, token_data: data, refreshed: false },
    });
    expect(await send('POST u/tokens/openai/refresh')).toMatchObject({
      status: 400,
      body: { detail: `Token type ${type} does not support refresh` },
    });
  });
});

test.each([
  [{ expires_at: '2025-01-15T11:00:00' }, at(hour), false],
  [{ expires_at: '2025-01-15T11:00:00.250000' }, at(hour + 250), false],
  [{ expires_at: '2025-01-15T13:00:00+02:00' }, at(hour), false],
  [{ expires_at: '2025-01-15T10:01:00Z' }, at(60_000), true],
  [{ expires_at: '2025-01-15T10:01:01Z' }, at(61_000), false],
  [{ expires_at: '2019-12-31T23:59:59Z' }, '2019-12-31T23:59:59.000Z', true],
  [{ expires_at: null, scopes: null }, null, false],
  [{ token_data: { api_key: 'sk-0123456789', expires_in: 3_600 } }, at(hour), false],
  [{ token_data: { api_key: 'sk-0123456789', expires_in: 0 } }, null, false],
])('a key with %j has the end %s', async (members, expires_at, is_expired) => {
  const { send } = await startGateway();
  expect((await send('POST u/tokens', { ...openaiToken, ...members })).status).toBe(201);
  const state = expires_at?.startsWith('2019') === true ? 'expired' : 'active';
  const [listed] = (await send('GET u/tokens')).body as [unknown];
  expect(listed).toMatchObject({ expires_at, is_expired, state });
  const { status, body } = await send('GET u/tokens/openai');
  expect([status, body]).toMatchObject([
    200,
    { expires_at, is_expired, refreshed: false, token_data: { api_key: 'sk-0123456789' } },
  ]);
});

test.each([
  ['of the same provider', { token_data: { api_key: 'sk-second' }, expires_at: at(hour) }],
  ['of another provider and type', { provider: 'google', token_type: 'jwt', token_data: { token: jwt } }],
])('a token %s replaces the one of its key, and keeps its ID', async (_, members) => {
  const { clock, send, sidekey } = await startGateway();
  const first = await send('POST u/tokens', { ...openaiToken, expires_at: at(2 * hour) });
  clock.now += 5_000;
  const next = { ...openaiToken, ...members };
  const { provider, token_type } = next;
  const second = await send('POST u/tokens', next);
  const { grant_id } = first.body as { grant_id: string };
  expect(second).toMatchObject({ status: 201, body: { provider, token_type, created_at: at(0), grant_id } });
  const end = 'expires_at' in members ? members.expires_at : null;
  const facts = { integration_key: 'openai', provider, token_type, scopes: null, expires_at: end };
  expect((await send('GET u/tokens')).body).toEqual([
    { ...facts, is_expired: false, ...more, updated_at: at(5_000) },
  ]);
  expect((await send('GET u/tokens/openai')).body).toMatchObject({ token_data: next.token_data });
  expect((await sidekey.audit()).filter(({ event }) => event === 'grant.added')).toMatchObject([
    { grant: grant_id },
    { grant: grant_id, reason: 'replaced' },
  ]);
});

test('keys, providers and types are stored in lower case, and a key with capitals is found', async () => {
  const { call, send } = await startGateway();
  const token = { ...openaiToken, integration_key: ' OpenAI ', provider: 'OpenAI', token_type: 'API_KEY' };
  const stored = { integration_key: 'openai', provider: 'openai', token_type: 'api_key' };
  expect((await send('POST u/tokens', token)).body).toMatchObject(stored);
  expect((await send('GET u/tokens/OpenAI')).body).toMatchObject(stored);
  const work = { name: 'Work', provider: 'openai', user: 'u', credential: 'sk-work', verify: false };
  expect((await call('POST /v2/grants', { body: work })).status).toBe(201);
  expect((await send('POST u/tokens', { ...token, integration_key: 'Work' })).body).toMatchObject({
    integration_key: 'Work',
  });
  expect((await send('GET u/tokens')).body).toMatchObject([
    { integration_key: 'Work' },
    { integration_key: 'openai' },
  ]);
});

test.each(['alice@example.com', 'auth0|123', 'google-oauth2|1', 'a+b@example.com', 'A-b_c.d~e'])(
  'the user %s has tokens of its own, in a path raw or percent-encoded',
  async (user) => {
    const { key, send, url } = await startGateway();
    const encoded = encodeURIComponent(user);
    const listed = [{ integration_key: 'openai' }];
    expect((await send(`POST ${encoded}/tokens`, openaiToken)).status).toBe(201);
    for (const path of [user, encoded]) {
      expect((await send(`GET ${path}/tokens`)).body).toMatchObject(listed);
      expect((await send(`GET ${path}/tokens/openai`)).body).toMatchObject(listed[0]!);
    }
    const own = agentsGateway(url, await key({ role: 'user', user }));
    expect((await own(`GET ${encoded}/tokens`)).body).toMatchObject(listed);
    expect((await own('GET alice/tokens')).status).toBe(404);
    expect((await send(`GET ${encoded.toUpperCase()}x/tokens`)).body).toEqual([]);
    expect((await send(`DELETE ${user}/tokens/openai`)).status).toBe(200);
  },
);

test.each(['a%2Fb', '%20', 'a%0Ab', '-x', '%C3%A9'])('the user %s is refused with 400', async (user) => {
  const { send } = await startGateway();
  expect((await send(`POST ${user}/tokens`, openaiToken)).status).toBe(400);
  expect((await send(`GET ${user}/tokens`)).status).toBe(400);
});

test('a caller without the scope of its name gets no refresh token, and none gets a client secret', async () => {
  const { call, key, server, send, sidekey } = await startGateway();
  await send('POST u/tokens', googleToken(server.consent('alice')));
  const read = async (scopes: string[]) => {
    const { body } = await call('GET /v2/users/u/tokens/google', { key: await key({ scopes }) });
    expect(JSON.stringify(body)).not.toContain('GOCSPX');
    return body.token_data as Record<string, unknown> | undefined;
  };
  const reads = ['grants:read', 'tokens:read'];
  expect(await read(reads)).not.toHaveProperty('refresh_token');
  expect(await read(['grants:read', 'tokens:refresh_token'])).toBeUndefined();
  expect(await read([...reads, 'tokens:refresh_token'])).toHaveProperty('refresh_token', 'refresh.alice.0');
  const recorded = (await sidekey.audit()).filter(({ event }) => event === 'token.read');
  expect(recorded.map(({ reason }) => reason)).toEqual([undefined, 'with the refresh token']);
});

test.each([
  ['a missing member', { provider: undefined }],
  ['an unknown type', { token_type: 'basic' }],
  ['an unknown provider', { provider: 'nothing' }],
  ['no token', { token_data: {} }],
  ['members of another type', { token_data: { api_key: 'sk-0123456789', access_token: 'a' } }],
  ['a key that is no name', { integration_key: 'a/b' }],
  ['a time that is none', { expires_at: '2025-02-30T00:00:00' }],
  ['an end more than ten years away', { expires_at: '2099-01-01T00:00:00Z' }],
])('a body with %s is refused with 400, and nothing is stored', async (_, members) => {
  const { send } = await startGateway();
  expect((await send('POST u/tokens', { ...openaiToken, ...members })).status).toBe(400);
  expect((await send('GET u/tokens')).body).toEqual([]);
});

test('a wrong key gets 401', async () => {
  const { url } = await startGateway();
  expect((await agentsGateway(url, 'sk_wrong')('GET u/tokens')).status).toBe(401);
});
