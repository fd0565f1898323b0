import { createPublicKey, verify } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { back, returned, startConnecting } from '../../support/connect-session.ts';

/** Verifies a compact JWS with the published key, and returns its claims. */
async function verified(jws: string, base: string): Promise<Record<string, unknown>> {
  const { keys } = (await (await fetch(`${base}/connect/jwks.json`)).json()) as {
    keys: { kid: string; kty: string }[];
  };
  const [header = '', payload = '', signature = ''] = jws.split('.');
  const { kid, alg } = JSON.parse(Buffer.from(header, 'base64url').toString()) as Record<string, string>;
  expect(alg).toBe('EdDSA');
  const key = createPublicKey({ key: keys.find((each) => each.kid === kid)!, format: 'jwk' });
  const input = Buffer.from(`${header}.${payload}`);
  expect(verify(null, input, key, Buffer.from(signature, 'base64url'))).toBe(true);
  return JSON.parse(Buffer.from(payload, 'base64url').toString()) as Record<string, unknown>;
}

describe('a connect session', () => {
  test('stores the grant of the person, and redirects the browser back with a signed result', async () => {
    const at = await startConnecting();
    const { call, url, sidekey } = at;
    const policy = {
      ttl: '30d',
      max_ttl: '60d',
      lease_ttl: '5m',
      labels: ['app'],
      metadata: { team: 'infra' },
    };
    const created = await call('POST /v2/connect-sessions', {
      body: {
        provider: 'acme',
        user: 'alice',
        name: 'desk',
        scopes: ['openid', 'email', 'read:tickets'],
        return_url: `${back}?app=1`,
        grant_policy: policy,
      },
    });
    expect(created.status).toBe(201);
    const { id, connect_url: link, session_token: token } = created.body as Record<string, string>;
    expect(link).toBe(`${url}/connect/${token}`);
    expect((await call(`GET /v2/connect-sessions/${id}`)).body).toMatchObject({
      status: 'pending',
      user: 'alice',
    });

    const browser = at.browser();
    const page = await browser.open(link!);
    expect(page.status).toBe(200);
    expect(page.body).toMatch(/<p>tester\S* asks to use your account at Acme Helpdesk/);
    for (const text of ['read:tickets', 'app.acme.test', '<b>alice</b>']) expect(page.body).toContain(text);
    const callback = await browser.consent(link!);
    const end = await browser.open(callback);
    expect(end.body).toContain('Acme Helpdesk is connected');

    const to = returned(end);
    expect(`${to.origin}${to.pathname}`).toBe(back);
    const answer = Object.fromEntries(to.searchParams);
    const { body } = await call(`GET /v2/connect-sessions/${id}`);
    expect(body).toMatchObject({ status: 'connected', grant_id: answer['grant_id'] });
    expect(answer).toMatchObject({ app: '1', session: id });
    expect(await verified(answer['signature']!, url)).toMatchObject({
      iss: url,
      aud: 'https://app.acme.test',
      session: id,
      user: 'alice',
      provider: 'acme',
      status: 'connected',
      grant_id: answer['grant_id'],
    });
    expect((await call(`GET /v2/grants/${answer['grant_id']}`)).body).toMatchObject({
      name: 'desk',
      user: 'alice',
      account: 'alice@acme.test',
      settings: { max_ttl: 5_184_000, default_lease_ttl: 300, labels: ['app'], metadata: { team: 'infra' } },
    });
    const events = (await sidekey.audit()).filter(({ event }) => event.startsWith('grant.'));
    expect(events.map(({ event }) => event)).toEqual(
      expect.arrayContaining(['grant.connecting', 'grant.connected', 'grant.changed']),
    );
    for (const event of events)
      expect(event).toMatchObject({ by: expect.stringMatching(/^key tester/), user: 'alice' });
    const secrets = [token!, new URL(callback).searchParams.get('code')!];
    const written = JSON.stringify(await sidekey.audit()) + sidekey.logged();
    for (const secret of secrets) expect(written).not.toContain(secret);
  });

  test('without a return address ends on a page of Sidekey', async () => {
    const at = await startConnecting();
    const { connect_url: link } = await at.session({ return_url: undefined });
    const browser = at.browser();
    const end = await browser.open(await browser.consent(link));
    expect(end.headers.get('refresh')).toBeNull();
    expect(end.body).toContain('Acme Helpdesk is connected');
  });

  test.each([
    ['at the provider', 'deny', 'yes'],
    ['on the page of the link', 'allow', 'no'],
  ] as const)(
    'fails with an error code for the person and the API if the person declines %s',
    async (_, decision, answer) => {
      const at = await startConnecting();
      const { id, connect_url: link } = await at.session();
      const browser = at.browser();
      const person = { user: 'alice@acme.test', password: 'demo1234', decision };
      const end =
        answer === 'no'
          ? await browser.press(link, 'no')
          : await browser.open(await browser.consent(link, person));
      expect(end.body).toContain('consent_declined');
      expect(returned(end).searchParams.get('error')).toBe('consent_declined');
      expect((await at.call(`GET /v2/connect-sessions/${id}`)).body).toMatchObject({
        status: 'failed',
        error: { code: 'consent_declined' },
      });
      expect((await at.call('GET /v2/grants')).body.data).toEqual([]);
      expect((await browser.open(link)).status).toBe(410);
    },
  );

  test('fails with the error code of a failure at the provider', async () => {
    const at = await startConnecting({ provider: { client_id: 'sidekey', client_secret: 'file:wrong' } });
    expect(await at.session()).toMatchObject({ code: 'secret_missing' });
    const wrong = await startConnecting({
      provider: { token_endpoint: 'https://helpdesk.acme.test:1/token' },
    });
    const { id, connect_url: link } = await wrong.session();
    const browser = wrong.browser();
    const end = await browser.open(await browser.consent(link));
    expect(returned(end).searchParams.get('error')).toBe('provider_refused');
    expect((await wrong.call(`GET /v2/connect-sessions/${id}`)).body).toMatchObject({
      status: 'failed',
      error: { code: 'provider_refused' },
    });
  });

  test('ends after 15 minutes, for the link, the consent and the API', async () => {
    const clock = { now: Date.now() };
    const at = await startConnecting({ now: () => clock.now });
    const [first, second] = [await at.session(), await at.session()];
    const browser = at.browser();
    const callback = await browser.consent(first.connect_url);
    clock.now += 900_000;
    expect((await browser.open(callback)).status).toBe(400);
    expect((await browser.open(second.connect_url)).status).toBe(410);
    expect((await browser.press(second.connect_url)).status).toBe(410);
    for (const { id } of [first, second]) {
      expect((await at.call(`GET /v2/connect-sessions/${id}`)).body).toMatchObject({ status: 'expired' });
    }
    clock.now += 86_400_000;
    expect((await at.call(`GET /v2/connect-sessions/${first.id}`)).status).toBe(404);
  });

  test('reconnects the same account, but never replaces it by another account', async () => {
    const at = await startConnecting();
    const browser = at.browser();
    const first = returned(await browser.open(await browser.consent((await at.session()).connect_url)));
    const again = returned(await browser.open(await browser.consent((await at.session()).connect_url)));
    expect(again.searchParams.get('grant_id')).toBe(first.searchParams.get('grant_id'));
    const other = at.browser();
    const bob = { user: 'bob@acme.test', password: 'demo1234' };
    const refused = returned(await other.open(await other.consent((await at.session()).connect_url, bob)));
    expect(refused.searchParams.get('error')).toBe('already_exists');
    const named = await at.session({ name: 'second' });
    const second = returned(await other.open(await other.consent(named.connect_url, bob)));
    expect((await at.call(`GET /v2/grants/${second.searchParams.get('grant_id')}`)).body).toMatchObject({
      account: 'bob@acme.test',
    });
  });
});

test('a session for a provider without a client explains how to register a client', async () => {
  const { call, url } = await startConnecting();
  const { status, body } = await call('POST /v2/connect-sessions', {
    body: { provider: 'github', user: 'alice' },
  });
  expect(status).toBe(422);
  expect(body).toMatchObject({ code: 'config_invalid', detail: expect.stringContaining('client_id') });
  expect(body.hint).toContain(`${url}/connect/callback`);
  const unknown = await call('POST /v2/connect-sessions', { body: { provider: 'githb', user: 'alice' } });
  expect(unknown.body).toMatchObject({ code: 'provider_unknown', detail: expect.stringContaining('github') });
  const policy = { ttl: '2d', max_ttl: '30h' };
  const long = { provider: 'acme', user: 'alice', grant_policy: policy };
  expect((await call('POST /v2/connect-sessions', { body: long })).status).toBe(400);
});
