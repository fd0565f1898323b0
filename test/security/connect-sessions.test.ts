import { describe, expect, test } from 'vitest';
import { returnUrl } from '../../src/api/connect/sessions.ts';
import { createWebSessions } from '../../src/api/web-session.ts';
import { back, returned, startConnecting } from '../support/connect-session.ts';

const hostile = '<script>alert(1)</script>"\'><img src=x onerror=alert(1)>\u202E';

const audienceOf = (jws = '') =>
  JSON.parse(Buffer.from(jws.split('.')[1] ?? '', 'base64url').toString()).aud as unknown;

describe('the consent of a connect session', () => {
  test('can only be completed in the browser that began it', async () => {
    const at = await startConnecting();
    const { id, connect_url: link } = await at.session();
    const mallory = at.browser();
    const callback = await mallory.consent(link);
    const stranger = await at.browser().open(callback);
    expect(stranger.status).toBe(400);
    expect(at.helpdesk.tokenRequestCount('authorization_code')).toBe(0);
    expect((await at.call(`GET /v2/connect-sessions/${id}`)).body).toMatchObject({ status: 'pending' });
    expect((await mallory.open(callback)).status).toBe(200);
  });

  test('cannot be completed with another browser secret', async () => {
    const at = await startConnecting();
    const { id, connect_url: link } = await at.session();
    const browser = at.browser();
    const callback = await browser.consent(link);
    for (const secret of ['', 'a'.repeat(43)])
      expect((await at.browser().post(callback, { browser: secret })).status).toBe(400);
    expect(at.helpdesk.tokenRequestCount('authorization_code')).toBe(0);
    expect((await at.call(`GET /v2/connect-sessions/${id}`)).body).toMatchObject({ status: 'pending' });
    expect((await browser.open(callback)).status).toBe(200);
  });

  test('cannot be completed with the state of another session of the same browser, or twice', async () => {
    const at = await startConnecting();
    const [first, second] = [await at.session(), await at.session({ name: 'second', user: 'bob' })];
    const browser = at.browser();
    const mine = new URL(await browser.consent(first.connect_url));
    const other = new URL(await browser.consent(second.connect_url));
    const mixed = new URL(mine);
    mixed.searchParams.set('state', other.searchParams.get('state')!);
    // The code was made for another challenge (PKCE).
    expect(returned(await browser.open(mixed.href)).searchParams.get('error')).toBe('provider_refused');
    expect((await browser.open(mine.href)).body).toContain('is connected');
    expect((await browser.open(mine.href)).status).toBe(400);
    const duplicate = new URL(mine);
    duplicate.searchParams.append('state', 'another');
    expect((await browser.open(duplicate.href)).status).toBe(400);
  });

  test.each([
    ['another issuer', (url: URL) => url.searchParams.set('iss', 'https://evil.test')],
    ['no issuer', (url: URL) => url.searchParams.delete('iss')],
    ['two states', (url: URL) => url.searchParams.append('state', 'another')],
  ])('rejects a callback with %s', async (_, change) => {
    const at = await startConnecting({ provider: { authorization_response_iss_parameter_supported: true } });
    const browser = at.browser();
    const callback = new URL(await browser.consent((await at.session()).connect_url));
    change(callback);
    expect(returned(await browser.open(callback.href)).searchParams.get('error')).toBe('bad_request');
    expect(at.helpdesk.tokenRequestCount('authorization_code')).toBe(0);
  });

  test('begins once, with the button of its own page, and never by a GET', async () => {
    const at = await startConnecting();
    const { connect_url: link } = await at.session();
    const browser = at.browser();
    for (const method of ['GET', 'HEAD', 'GET'])
      expect((await browser.open(link, { method })).status).toBe(200);
    for (const site of ['cross-site', 'same-site', 'none', '']) {
      const headers = { 'sec-fetch-site': site };
      const forged = await browser.open(link, { method: 'POST', headers, body: new URLSearchParams() });
      expect(forged.status).toBe(403);
    }
    for (const secret of [undefined, '', 'a b', 'a'.repeat(44)]) {
      const fields = { answer: 'yes', ...(secret === undefined ? {} : { browser: secret }) };
      expect((await browser.post(link, fields)).status).toBe(400);
    }
    const pressed = await browser.press(link);
    expect(pressed.status).toBe(303);
    const asked = new URL(pressed.headers.get('location')!).searchParams;
    expect(asked.get('code_challenge_method')).toBe('S256');
    const again = await Promise.all([browser.press(link), browser.open(link)]);
    expect(again.map(({ status }) => status)).toEqual([410, 410]);
  });

  test('has pages that cannot be framed or cached, run only their own script, and send no referrer', async () => {
    const at = await startConnecting();
    const { connect_url: link } = await at.session();
    const { headers } = await at.browser().open(link);
    const policy = headers.get('content-security-policy');
    expect(policy).toContain("default-src 'none'");
    expect(policy).toContain("frame-ancestors 'none'");
    expect(policy).toMatch(/; script-src 'sha256-[\w+/=]+';/);
    expect(policy).toContain("form-action 'self' https: https://app.acme.test");
    expect(headers.get('referrer-policy')).toBe('no-referrer');
    expect(headers.get('cache-control')).toBe('no-store');
    expect(headers.get('cross-origin-opener-policy')).toBe('same-origin');
  });

  test('shows hostile names as text', async () => {
    const scope = '<img/src=x/onerror=alert(1)>';
    const at = await startConnecting({
      provider: { title: hostile.slice(0, -1), known_scopes: { [scope]: hostile.slice(0, -1) } },
    });
    const key = await at.key({ name: hostile });
    const created = await at.call('POST /v2/connect-sessions', {
      key,
      body: { provider: 'acme', user: 'alice', scopes: [scope], popup_origin: 'https://app.acme.test' },
    });
    const browser = at.browser();
    const { connect_url: link } = created.body as { connect_url: string };
    const page = await browser.open(link);
    const declined = await browser.press(link, 'no');
    for (const { body } of [page, declined]) {
      expect(body).toContain('&lt;script&gt;');
      expect(body).not.toMatch(/<img|<script>alert|\u202E/);
    }
    expect(declined.body.match(/<script>/g)).toHaveLength(1);
  });
});

describe('a connect session of a key', () => {
  test('is limited to the user of the key', async () => {
    const at = await startConnecting();
    const bob = await at.key({ role: 'user', user: 'bob' });
    const { id } = await at.session();
    const wanted = { provider: 'acme', user: 'alice' };
    expect((await at.call('POST /v2/connect-sessions', { key: bob, body: wanted })).status).toBe(404);
    expect((await at.call(`GET /v2/connect-sessions/${id}`, { key: bob })).status).toBe(404);
    const auditor = await at.key({ role: 'auditor' });
    expect((await at.call('POST /v2/connect-sessions', { key: auditor, body: wanted })).status).toBe(403);
  });

  test('for one user cannot lift limits of the operator', async () => {
    const at = await startConnecting();
    const key = await at.key({ role: 'user', user: 'alice' });
    const wanted = { provider: 'acme', user: 'alice' };
    for (const path of ['/v2/connect-sessions', '/v2/connect-sessions/device'])
      for (const policy of [{ max_ttl: '900d' }, { labels: ['prod'] }, { metadata: { team: 'x' } }]) {
        const { body } = await at.call(`POST ${path}`, { key, body: { ...wanted, grant_policy: policy } });
        expect(body.code, path).toBe('scope_missing');
      }
    const body = { ...wanted, grant_policy: { ttl: '1d' } };
    expect((await at.call('POST /v2/connect-sessions', { key, body })).status).toBe(201);
  });

  test('signs a separate result for each receiver', async () => {
    const app = 'https://other.acme.test';
    const at = await startConnecting({ returnUrls: [back, `${app}/x`] });
    const { connect_url: link } = await at.session({ popup_origin: app });
    const { body } = await at.browser().press(link, 'no');
    const [, told] = /"signature":"([^"]+)"/.exec(body) ?? [];
    const [, sent] = /signature=([\w.-]+)/.exec(body) ?? [];
    expect([audienceOf(told), audienceOf(sent)]).toEqual([app, new URL(back).origin]);
  });

  test('redirects no browser and sends no message to an unregistered address', async () => {
    const at = await startConnecting();
    for (const url of [undefined, 'https://evil.test/connected', `${back}.evil.test`]) {
      const body = { return_url: url ?? 'https://app.acme.test/other' };
      expect(await at.session(body)).toMatchObject({ code: 'input_invalid' });
    }
    for (const origin of [
      'https://evil.test',
      '*',
      'https://app.acme.test/',
      'null',
      'https://app.acme.test:444',
    ]) {
      expect(await at.session({ popup_origin: origin })).toMatchObject({ code: 'input_invalid' });
    }
  });

  test('reports to a page of Sidekey, and to the page of a signed-in person, without admin.return_urls', async () => {
    const at = await startConnecting();
    expect((await at.session({ popup_origin: new URL(at.url).origin })).id).toBeDefined();
    await at.call('POST /v2/people', { body: { name: 'pat', role: 'operator' } });
    const { state } = at.sidekey.proxy;
    const pat = (await state.store.people.get('pat'))!;
    const secret = await createWebSessions({ ...state, now: Date.now }).begin(pat);
    const { port } = new URL(at.url);
    const base = `http://localhost:${port}`;
    const ask = (headers: Record<string, string>, key: string | null = null) =>
      at.call('POST /v2/connect-sessions', {
        base,
        key,
        headers,
        body: { provider: 'acme', user: 'alice', popup_origin: headers['origin'] },
      });
    const authorization = `Bearer ${secret}`;
    expect(await ask({ authorization, origin: base })).toMatchObject({ status: 201 });
    const elsewhere = await ask({ authorization, origin: 'https://evil.test' });
    expect(elsewhere.body.code).toBe('authority_mismatch');
    const byKey = await ask({ origin: 'https://evil.test' }, await at.key());
    expect(byKey.body.code).toBe('input_invalid');
  });
});

describe('a return address', () => {
  const registered = ['https://app.acme.test/connected', 'http://127.0.0.1:3000/'];

  test.each([
    'https://app.acme.test/connected',
    'https://app.acme.test/connected?to=https://evil.test/',
    'https://app.acme.test/connected/deeper',
    'http://127.0.0.1:3000/',
    'http://127.0.0.1:3000/any?x=1',
  ])('is accepted: %s', (text) => {
    expect(returnUrl(text, registered)?.href).toBe(text);
  });

  test.each([
    'https://evil.test/connected',
    'https://app.acme.test.evil.test/connected',
    'https://app.acme.test@evil.test/connected',
    'https://evil.test#@app.acme.test/connected',
    'https://user@app.acme.test/connected',
    'https://app.acme.test:8443/connected',
    'http://app.acme.test/connected',
    'https://app.acme.test/connectedness',
    'https://app.acme.test/',
    'https://app.acme.test/connected/../admin',
    'https://app.acme.test/connected/%2e%2e/admin',
    'https://app.acme.test/connected/..%2fadmin',
    'https://app.acme.test/connected/%5c..%5cadmin',
    'https://app.acme.test/connected//evil.test',
    'https://app.acme.test\\@evil.test/connected',
    'https:\\\\evil.test/connected',
    'https:app.acme.test/connected',
    '//app.acme.test/connected',
    '/connected',
    'https://app.acme.test/connected#x',
    'https://APP.acme.test/connected',
    'https://app.acme.test./connected',
    'https://app.acme.test/connected\n',
    ' https://app.acme.test/connected',
    'javascript:alert(1)//app.acme.test/connected',
    'data:text/html,https://app.acme.test/connected',
    'http://127.0.0.1:3001/',
    'http://127.1:3000/',
    'http://localhost:3000/',
    '',
  ])('is rejected: %s', (text) => {
    expect(returnUrl(text, registered)).toBeNull();
  });
});
