import { describe, expect, test } from 'vitest';
import { startDevice } from '../../support/device-session.ts';
import { startService } from '../../support/service.ts';

describe('a connect session on another device', () => {
  test('shows the codes, waits for the person, and stores the grant under its policy', async () => {
    const at = await startDevice();
    const { call, server, sidekey } = at;
    const begun = await call('POST /v2/connect-sessions/device', {
      body: {
        provider: 'desk',
        user: 'alice',
        name: 'mine',
        grant_policy: { max_ttl: '60d', labels: ['app'] },
      },
    });
    expect(begun.status).toBe(201);
    expect(begun.body).toEqual({
      id: expect.stringMatching(/^cs_/),
      user_code: expect.stringMatching(/^[A-Z-]{9}$/),
      verification_uri: `${server.issuer}/device`,
      verification_uri_complete: `${server.issuer}/device?user_code=${begun.body.user_code}`,
      expires_at: expect.stringMatching(/Z$/),
      interval: 0.02,
    });
    const state = `GET /v2/connect-sessions/${begun.body.id}`;
    expect((await call(state)).body).toMatchObject({ status: 'pending', user: 'alice', provider: 'desk' });
    await server.approve(begun.body.user_code);
    const end = await at.ended(begun.body);
    expect(end).toMatchObject({ status: 'connected', grant_id: expect.any(String) as string });
    expect((await call(`GET /v2/grants/${String(end['grant_id'])}`)).body).toMatchObject({
      name: 'mine',
      user: 'alice',
      account: 'alice',
      scopes: ['openid', 'offline_access', 'read'],
      settings: { max_ttl: 5_184_000, labels: ['app'] },
    });
    const events = (await sidekey.audit()).filter(({ event }) => event.startsWith('grant.'));
    expect(events[0]).toMatchObject({
      event: 'grant.connecting',
      reason: `connect session ${begun.body.id}`,
    });
    expect(events.map(({ event }) => event)).toEqual(
      expect.arrayContaining(['grant.connected', 'grant.changed']),
    );
    for (const event of events)
      expect(event).toMatchObject({
        by: expect.stringMatching(/^key tester/) as string,
        client: expect.stringMatching(/^api:127\.0\.0\.1:/) as string,
        user: 'alice',
      });
  });

  test('fails if the person declines', async () => {
    const at = await startDevice();
    const begun = await at.begin();
    await at.server.deny(begun.user_code);
    expect(await at.ended(begun)).toMatchObject({ status: 'failed', error: { code: 'consent_declined' } });
    expect((await at.call('GET /v2/grants')).body.data).toEqual([]);
    expect(await at.sidekey.audited(({ event }) => event === 'grant.connected')).toMatchObject({
      outcome: 'failed',
      code: 'consent_declined',
    });
  });

  test('expires with an error code', async () => {
    const clock = { now: Date.now() };
    const at = await startDevice({}, () => clock.now);
    const begun = await at.begin();
    clock.now += 600_000;
    expect(await at.ended(begun)).toMatchObject({ status: 'expired' });
    await at.sidekey.audited(({ event, code }) => event === 'grant.connected' && code === 'consent_missing');
    expect((await at.call('GET /v2/grants')).body.data).toEqual([]);
  });

  test('fails when the proxy stops, and reports the stop', async () => {
    const at = await startDevice();
    const begun = await at.begin();
    await at.sidekey.proxy.close();
    const next = await startService({ folder: at.sidekey.folder });
    expect((await next.call(`GET /v2/connect-sessions/${begun.id}`)).body).toMatchObject({
      status: 'expired',
      error: { code: 'consent_missing', detail: expect.stringContaining('stopped') as string },
    });
  });

  test('fails instead of replacing an account that was connected while the session waited', async () => {
    const at = await startDevice();
    const [first, second] = [await at.begin(), await at.begin()];
    await at.server.approve(first.user_code, 'alice');
    const { grant_id: id } = await at.ended(first);
    await at.server.approve(second.user_code, 'bob');
    expect(await at.ended(second)).toMatchObject({ status: 'failed', error: { code: 'already_exists' } });
    expect((await at.call('GET /v2/grants')).body.data).toMatchObject([{ id, account: 'alice' }]);
    const third = await at.begin();
    await at.server.approve(third.user_code, 'alice');
    expect(await at.ended(third)).toMatchObject({ status: 'connected', grant_id: id });
  });

  test('is refused if the same user already has 20 open sessions', async () => {
    const at = await startDevice();
    for (let begun = 0; begun < 20; begun += 1) expect(await at.begin()).toHaveProperty('user_code');
    expect(await at.begin()).toMatchObject({ code: 'rate_limited' });
    expect(await at.begin({ user: 'bob' })).toHaveProperty('user_code');
  });

  test('can only be used by the user of the API key', async () => {
    const at = await startDevice();
    const key = await at.key({ role: 'user', user: 'bob' });
    const body = { provider: 'desk', user: 'alice' };
    expect((await at.call('POST /v2/connect-sessions/device', { key, body })).status).toBe(404);
    const begun = await at.begin();
    expect((await at.call(`GET /v2/connect-sessions/${begun.id}`, { key })).status).toBe(404);
  });

  test.each([
    ['without a device flow', { device_authorization_endpoint: undefined }, 422, 'config_invalid', /desk/],
    ['that refuses the client', { client_id: 'nobody' }, 502, 'provider_refused', /desk/],
    [
      'that is away',
      { device_authorization_endpoint: 'https://api.acme.test:1/device' },
      502,
      'provider_refused',
      /^try again later; then begin again$/,
    ],
  ])('with a provider %s is refused, with the next step', async (_what, provider, status, code, hint) => {
    const at = await startDevice(provider);
    const body = { provider: 'desk', user: 'alice' };
    const refused = await at.call('POST /v2/connect-sessions/device', { body });
    expect(refused).toMatchObject({
      status,
      body: { code, hint: expect.stringMatching(hint) as string },
    });
  });
});
