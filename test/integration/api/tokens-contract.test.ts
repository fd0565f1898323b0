import { expect, test } from 'vitest';
import { startService } from '../../support/service.ts';
import { startTokenServer } from '../../support/token-server.ts';

/** A program for the tokens API of Agents Gateway; it knows the base address, the key, and its own shapes. */
function agentsGateway(baseUrl: string, apiKey: string) {
  const send = async (method: string, path: string, body?: Readonly<Record<string, unknown>>) => {
    const response = await fetch(`${baseUrl}/v2/users/${path}`, {
      method,
      headers: { 'X-API-Key': apiKey, 'Content-Type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    return { status: response.status, body: text === '' ? null : (JSON.parse(text) as Token) };
  };
  return {
    store: (user: string, token: Readonly<Record<string, unknown>>) => send('POST', `${user}/tokens`, token),
    list: (user: string) => send('GET', `${user}/tokens`),
    get: (user: string, key: string) => send('GET', `${user}/tokens/${key}`),
    refresh: (user: string, key: string) => send('POST', `${user}/tokens/${key}/refresh`),
    remove: (user: string, key: string) => send('DELETE', `${user}/tokens/${key}`),
  };
}

interface Token {
  readonly token_data?: Readonly<Record<string, unknown>>;
  readonly is_expired: boolean;
  readonly refreshed: boolean;
  readonly [name: string]: unknown;
}

async function startGateway() {
  const server = await startTokenServer({ expiresIn: 3_600 });
  const clock = { now: Date.now() };
  const { url, key } = await startService({
    now: () => clock.now,
    config: {
      providers: {
        desk: { token_endpoint: `${server.url}/token/desk`, audience: [server.authority] },
      },
    },
  });
  const scopes = ['grants:read', 'tokens:write', 'tokens:read'];
  return { clock, server, url, gateway: agentsGateway(url, await key({ scopes })) };
}

const iso = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/) as string;

test('a client of Agents Gateway stores, reads, refreshes and deletes an OAuth token of a user', async () => {
  const { clock, server, gateway } = await startGateway();
  const { accessToken, refreshToken } = server.consent('alice');
  const expires = new Date(clock.now + 3_600_000).toISOString();
  const stored = await gateway.store('alice', {
    integration_key: 'desk-main',
    provider: 'desk',
    token_type: 'oauth2',
    token_data: {
      access_token: accessToken,
      refresh_token: refreshToken,
      token_type: 'Bearer',
      expires_in: 3_600,
      scope: 'read write',
      client_id: 'the-client',
      client_secret: 'the-secret-of-the-client',
    },
    scopes: ['read', 'write'],
    expires_at: expires,
  });
  const metadata = {
    user_id: 'alice',
    integration_key: 'desk-main',
    provider: 'desk',
    token_type: 'oauth2',
    scopes: ['read', 'write'],
    expires_at: expires,
    is_expired: false,
    created_at: iso,
    updated_at: iso,
  };
  expect(stored).toMatchObject({ status: 201, body: metadata });
  expect(stored.body).not.toHaveProperty('token_data');
  const listed = await gateway.list('alice');
  expect(listed).toMatchObject({ status: 200, body: { data: [metadata] } });
  expect(JSON.stringify(listed.body)).not.toContain(accessToken);

  expect(await gateway.get('alice', 'desk-main')).toMatchObject({
    status: 200,
    body: {
      ...metadata,
      refreshed: false,
      token_data: { access_token: accessToken, token_type: 'Bearer', scope: 'read write', expires_in: 3_600 },
    },
  });
  clock.now += 3_700_000;
  const due = await gateway.get('alice', 'desk-main');
  expect(due).toMatchObject({ status: 200, body: { is_expired: false, refreshed: true } });
  expect(due.body?.token_data?.['access_token']).toBe('access.alice.1');
  const refreshed = await gateway.refresh('alice', 'desk-main');
  expect(refreshed).toMatchObject({ status: 200, body: { refreshed: true } });
  expect(refreshed.body?.token_data?.['access_token']).toBe('access.alice.2');

  expect((await gateway.get('bob', 'desk-main')).status).toBe(404);
  expect(await gateway.remove('alice', 'desk-main')).toEqual({ status: 204, body: null });
  expect((await gateway.get('alice', 'desk-main')).status).toBe(404);
  expect((await gateway.remove('alice', 'desk-main')).status).toBe(404);
});

test.each([
  ['api_key', { api_key: 'key-of-alice-0123456789' }],
  ['jwt', { jwt: 'eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSJ9.c2ln' }],
])('a client of Agents Gateway reads a token of the type %s as it was stored', async (type, data) => {
  const { clock, gateway } = await startGateway();
  const expires = new Date(clock.now + 3_600_000).toISOString();
  const token = { integration_key: 'mine', provider: 'desk', token_type: type, token_data: data };
  expect((await gateway.store('alice', { ...token, expires_at: expires })).status).toBe(201);
  const { status, body } = await gateway.get('alice', 'mine');
  expect(status).toBe(200);
  expect(body).toMatchObject({ token_type: type, is_expired: false, refreshed: false, expires_at: expires });
  expect(body?.token_data).toEqual(data);
});

test('a client of Agents Gateway gets the documented status for a wrong key and for a wrong body', async () => {
  const { url, gateway } = await startGateway();
  expect((await agentsGateway(url, 'sk_wrong').list('alice')).status).toBe(401);
  expect((await gateway.store('alice', { integration_key: 'mine' })).status).toBe(400);
  expect((await gateway.refresh('alice', 'nothing')).status).toBe(404);
});
