/** Tokens of users with a provider behind them. */
import { once } from 'node:events';
import { get } from 'node:https';
import type { IncomingMessage } from 'node:http';
import { describe, expect, it } from 'vitest';
import { startConnecting } from '../../support/connect-session.ts';
import { startService } from '../../support/service.ts';
import { startTokenServer } from '../../support/token-server.ts';

const hour = 3_600_000;

/** A service whose clock is set, with an OAuth token of alice that lasts an hour. */
async function withToken() {
  const clock = { now: Date.now() };
  const provider = await startTokenServer({ expiresIn: 3_600 });
  const { accessToken, refreshToken } = provider.consent('family');
  const service = await startService({
    now: () => clock.now,
    config: {
      providers: {
        acme: {
          token_endpoint: `${provider.url}/token/api`,
          client_id: 'sidekey',
          audience: [provider.authority],
        },
      },
    },
  });
  const reader = await service.key({
    name: 'reader',
    scopes: ['grants:read', 'tokens:read', 'tokens:write'],
  });
  await service.call('POST /v2/users/alice/tokens', {
    body: {
      integration_key: 'desk',
      provider: 'acme',
      token_type: 'oauth2',
      token_data: { access_token: accessToken, refresh_token: refreshToken, expires_in: 3_600 },
    },
  });
  const reads = async () => (await service.sidekey.audit()).filter(({ event }) => event === 'token.read');
  return { ...service, clock, provider, reader, reads };
}

describe('GET of a token', () => {
  it('refreshes the token if it is due, not earlier', async () => {
    const { call, clock, provider, reader } = await withToken();
    const get = async () => (await call('GET /v2/users/alice/tokens/desk', { key: reader })).body;
    expect(await get()).toMatchObject({
      refreshed: false,
      is_expired: false,
      token_data: { access_token: 'access.family.0' },
    });
    expect(provider.requests).toHaveLength(0);
    clock.now += hour + 1_000;
    const [listed] = (await call('GET /v2/users/alice/tokens')).body;
    expect(listed).toMatchObject({ is_expired: true });
    expect(await get()).toMatchObject({
      refreshed: true,
      is_expired: false,
      token_data: { access_token: 'access.family.1' },
    });
    expect(await get()).toMatchObject({ refreshed: false });
    expect(provider.requests).toHaveLength(1);
  });
});

describe('the refresh of a token', () => {
  it('runs again for the same Idempotency-Key', async () => {
    const { call, provider, reader } = await withToken();
    for (const count of [1, 2]) {
      const { headers } = await call('POST /v2/users/alice/tokens/desk/refresh', {
        key: reader,
        headers: { 'idempotency-key': 'k' },
      });
      expect(headers.get('idempotency-replayed')).toBeNull();
      expect(provider.requests).toHaveLength(count);
    }
  });
});

describe('each read of a token', () => {
  it('is recorded with the fingerprint of its value', async () => {
    const { call, clock, reader, reads } = await withToken();
    for (const _ of [1, 2]) {
      await call('GET /v2/users/alice/tokens/desk', { key: reader });
      clock.now += hour + 1_000;
    }
    const names = (await reads()).map(({ credential }) => credential);
    expect(names).toEqual([expect.stringMatching(/^[0-9a-f]{16}$/), expect.stringMatching(/^[0-9a-f]{16}$/)]);
    expect(new Set(names).size).toBe(2);
  });
});

describe('an API key credential that never expires by itself', () => {
  it('is listed as expired after the given expires_at', async () => {
    const { call, clock } = await withToken();
    const expires_at = new Date(clock.now + 2 * hour).toISOString();
    await call('POST /v2/users/alice/tokens', {
      body: {
        integration_key: 'gh',
        provider: 'github',
        token_type: 'api_key',
        token_data: { api_key: 'ghp_0123456789abcdef0123456789abcdef0123' },
        expires_at,
      },
    });
    const listed = async () =>
      (await call('GET /v2/users/alice/tokens')).body.find(
        ({ integration_key: key }: { integration_key: string }) => key === 'gh',
      );
    expect(await listed()).toMatchObject({ state: 'active', is_expired: false });
    clock.now += 2 * hour;
    expect(await listed()).toMatchObject({ state: 'expired', is_expired: true });
  });

  it('is not stored with an expires_at that a grant cannot have', async () => {
    const { call } = await withToken();
    const { status, body } = await call('POST /v2/users/alice/tokens', {
      body: {
        integration_key: 'gh',
        provider: 'github',
        token_type: 'api_key',
        token_data: { api_key: 'ghp_0123456789abcdef0123456789abcdef0123' },
        expires_at: '2099-01-01T00:00:00Z',
      },
    });
    expect([status, body.detail]).toEqual([
      400,
      expect.stringContaining('"expires_at" lies more than 10 years ahead'),
    ]);
    expect((await call('GET /v2/users/alice/tokens/gh')).status).toBe(404);
  });
});

describe.each([
  ['POST /v2/grants/desk/revoke', {}],
  ['DELETE /v2/grants/desk', undefined],
  ['DELETE /v2/users/alice/tokens/desk', undefined],
])('%s', (request, body) => {
  it('also revokes the token at the provider', async () => {
    const at = await startConnecting();
    const { port, caCertificate: ca } = at.helpdesk;
    const { connect_url: link } = await at.session({ name: 'desk' });
    const browser = at.browser();
    await browser.open(await browser.consent(link));
    const key = await at.key({ scopes: ['grants:read', 'tokens:read'] });
    const { token_data } = (await at.call('GET /v2/users/alice/tokens/desk', { key })).body;
    const userinfo = async () => {
      const headers = { authorization: `Bearer ${token_data.access_token}` };
      const host = { host: '127.0.0.1', port, servername: 'helpdesk.acme.test', ca };
      const asked = get({
        ...host,
        path: '/userinfo',
        headers: { ...headers, host: `helpdesk.acme.test:${port}` },
      });
      const [response] = (await once(asked, 'response')) as [IncomingMessage];
      response.resume();
      return response.statusCode;
    };
    expect(await userinfo()).toBe(200);
    const user = await at.key({ role: 'user', user: 'alice' });
    const ended = await at.call(request, { key: user, ...(body === undefined ? {} : { body }) });
    expect(ended.status, JSON.stringify(ended.body)).toBeLessThan(300);
    expect(await userinfo()).toBe(401);
  });
});
