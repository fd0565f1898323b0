import { describe, expect, it } from 'vitest';
import { runHere } from '../support/command-line.ts';
import { startWithIssuer } from '../support/open-id-server.ts';

type Browser = ReturnType<Awaited<ReturnType<typeof startWithIssuer>>['browser']>;

const sessionOf = ({ body }: Awaited<ReturnType<Browser['open']>>) => body.session as string | undefined;

describe('the callback of a sign-in at the issuer', () => {
  it('is refused in a browser other than the one that began it, so nobody is signed in as somebody else', async () => {
    const { browser, call } = await startWithIssuer();
    const attacker = browser();
    const callback = await attacker.askIssuer(await attacker.begin());
    const victim = browser();
    for (const begun of [false, true]) {
      if (begun) await victim.begin();
      const page = await victim.answer(callback);
      expect([page.status, sessionOf(page)]).toEqual([400, undefined]);
    }
    expect((await call('GET /v2/people')).body.data).toEqual([]);
    expect(sessionOf(await attacker.answer(callback))).toBeDefined();
  });

  it('is refused with the state of another sign-in of the same browser', async () => {
    const { browser } = await startWithIssuer();
    const alice = browser();
    const [first, second] = [await alice.begin(), await alice.begin()];
    const swapped = new URL(await alice.askIssuer(first));
    swapped.searchParams.set('state', new URL(second).searchParams.get('state') ?? '');
    const page = await alice.answer(swapped.href);
    // PKCE and the nonce of the other sign-in do not fit.
    expect([page.status, sessionOf(page)]).toEqual([502, undefined]);
  });

  it('is refused a second time', async () => {
    const { browser } = await startWithIssuer();
    const alice = browser();
    const callback = await alice.askIssuer(await alice.begin());
    expect(sessionOf(await alice.answer(callback))).toBeDefined();
    const again = await alice.answer(callback);
    expect([again.status, sessionOf(again)]).toEqual([400, undefined]);
  });

  it('is refused after ten minutes', async () => {
    let at = Date.now();
    const { browser } = await startWithIssuer({ now: () => at });
    const alice = browser();
    const callback = await alice.askIssuer(await alice.begin());
    at += 600_001;
    expect((await alice.answer(callback)).status).toBe(400);
  });

  it('is refused if it names another issuer or none (mix-up, RFC 9207)', async () => {
    const { browser } = await startWithIssuer();
    for (const issuer of ['https://evil.example', null]) {
      const alice = browser();
      const callback = new URL(await alice.askIssuer(await alice.begin()));
      callback.searchParams.delete('iss');
      if (issuer !== null) callback.searchParams.set('iss', issuer);
      const page = await alice.answer(callback.href);
      expect([page.status, sessionOf(page)]).toEqual([400, undefined]);
      expect(page.body.code).toBe('bad_request');
    }
  });

  it('is refused if the client in the config file has changed since the beginning', async () => {
    const { browser, sidekey, settings } = await startWithIssuer();
    const alice = browser();
    const callback = await alice.askIssuer(await alice.begin());
    await sidekey.configure({
      admin: { listen: '127.0.0.1:0', oidc: { ...settings, client_id: 'another' } },
    });
    expect((await alice.answer(callback)).status).toBe(400);
  });

  it('is refused with a changed state', async () => {
    const { browser } = await startWithIssuer();
    const alice = browser();
    const begun = await alice.open('POST /sign-in/oidc', { body: { return_to: '/' } });
    const { url, flow } = begun.body as { url: string; flow: string };
    const callback = await alice.askIssuer(url);
    const page = await browser().answer(callback, flow.slice(0, -8) + 'AAAAAAAA');
    expect([page.status, sessionOf(page)]).toEqual([400, undefined]);
    expect(sessionOf(await alice.answer(callback, flow))).toBeDefined();
  });

  it('is refused for a page of another origin', async () => {
    const { browser } = await startWithIssuer();
    const alice = browser();
    const body = { parameters: '?code=x', flow: 'x' };
    for (const headers of [{ origin: 'https://evil.example' }, { 'sec-fetch-site': 'same-site' }]) {
      const page = await alice.open('POST /sign-in/oidc/callback', { body, headers });
      expect([page.status, page.body.code]).toEqual([421, 'authority_mismatch']);
    }
  });

  it('creates a new session and ends the previous one, so no session can be fixed', async () => {
    const { browser } = await startWithIssuer();
    const alice = browser();
    const first = sessionOf(await alice.signIn());
    const second = sessionOf(await alice.signIn());
    expect(second).toBeDefined();
    expect(second).not.toBe(first);
    expect(
      (await browser().open('GET /v2/me', { headers: { authorization: `Bearer ${first}` } })).status,
    ).toBe(401);
  });
});

describe('a sign-in at the issuer', () => {
  it('cannot be started by a page of another origin', async () => {
    const { browser } = await startWithIssuer();
    for (const headers of [{ origin: 'https://evil.example' }, { 'sec-fetch-site': 'cross-site' }]) {
      const answer = await browser().open('POST /sign-in/oidc', { body: { return_to: '/' }, headers });
      expect([answer.status, answer.body.flow]).toEqual([421, undefined]);
    }
  });

  it('can only be started at the address of the callback', async () => {
    const { browser, url } = await startWithIssuer();
    const local = url.replace('127.0.0.1', 'localhost');
    const headers = { origin: local };
    const answer = await browser().open(`POST ${local}/sign-in/oidc`, { body: { return_to: '/' }, headers });
    expect([answer.status, answer.body.flow]).toEqual([421, undefined]);
    expect(answer.body.hint).toContain(`open ${url}`);
  });

  it.each([
    'https://evil.example/',
    '//evil.example/',
    String.raw`/\evil.example/`,
    String.raw`\\evil.example`,
    '/..//evil.example/',
    '/%2e%2e//evil.example',
    '/\t/evil.example',
    'javascript:alert(1)',
    '/x y',
    '',
  ])('redirects to no other site: %j', async (returnTo) => {
    const { browser } = await startWithIssuer();
    const page = await browser().signIn(returnTo);
    expect(page.body.return_to).toBe('/');
  });

  it('is refused without a role in the claims, and creates no person', async () => {
    const { browser, account, call, sidekey } = await startWithIssuer();
    account.claims = { groups: ['guests'], preferred_username: 'eve' };
    const page = await browser().signIn();
    expect([page.status, sessionOf(page)]).toEqual([403, undefined]);
    expect(page.body.hint).toContain('give one of your claims a role');
    expect((await call('GET /v2/people')).body.data).toEqual([]);
    expect(sidekey.logged()).toContain('was refused');
  });

  it('ignores an e-mail address that the issuer has not verified', async () => {
    const { browser, account } = await startWithIssuer();
    for (const verified of [undefined, false, 'true']) {
      account.claims = { email: 'bob@acme.test', email_verified: verified, preferred_username: 'bob' };
      expect((await browser().signIn()).status).toBe(403);
    }
  });

  it('does not take over a person of the same name until the operator links the account', async () => {
    const { browser, call, key, sidekey } = await startWithIssuer();
    await call('POST /v2/people', { body: { name: 'alice', role: 'auditor' } });
    const page = await browser().signIn();
    expect([page.status, sessionOf(page)]).toEqual([409, undefined]);
    expect(page.body.hint).toContain('sidekey person set alice --subject a-1');
    const { store } = sidekey.proxy.state;
    expect(await store.people.get('alice')).toMatchObject({ role: 'auditor', identity: null });

    const command = (...args: readonly string[]) =>
      runHere([...args, '--config', sidekey.configFile], process.cwd());
    expect((await command('person', 'set', 'alice', '--subject', 'a-1')).exit).toBe(0);
    const alice = browser();
    await alice.signIn();
    expect(await alice.me()).toMatchObject({ name: 'alice', role: 'operator' });
    await call('POST /v2/people', { body: { name: 'bob', role: 'auditor' } });
    const second = await command('person', 'set', 'bob', '--subject', 'a-1');
    expect(second.stderr).toContain('This account signs in another person already');

    const own = await key({ person: 'alice' });
    expect((await command('person', 'set', 'alice', '--subject', 'a-9')).exit).toBe(0);
    expect(await alice.me()).toMatchObject({ code: 'api_auth_required' });
    expect((await call('GET /v2/grants', { key: own })).status).toBe(401);
  });

  it('cannot be replaced by a sign-in link from the API, which would outlive the account', async () => {
    const { browser, call } = await startWithIssuer();
    await browser().signIn();
    const { status, body } = await call('POST /v2/people/alice/link');
    expect([status, body.detail]).toEqual([400, 'alice signs in at the issuer of admin.oidc.']);
  });

  it('distinguishes people by issuer and subject instead of name or e-mail', async () => {
    const { browser, account, call } = await startWithIssuer();
    await browser().signIn();
    account.sub = 'a-2';
    const page = await browser().signIn();
    expect([page.status, sessionOf(page)]).toEqual([409, undefined]);
    expect((await call('GET /v2/people')).body.data).toHaveLength(1);
  });

  it('does not enable a person whom the operator disabled', async () => {
    const { browser, call } = await startWithIssuer();
    const alice = browser();
    await alice.signIn();
    await call('PATCH /v2/people/alice', { body: { disabled: true } });
    expect(await alice.me()).toMatchObject({ code: 'api_auth_required' });
    const page = await browser().signIn();
    expect([page.status, sessionOf(page)]).toEqual([401, undefined]);
    expect(page.body.hint).toContain('sidekey person set alice --enable');
  });

  it('removes the role of an account that lost it, also in other sessions and keys', async () => {
    const { browser, account, call, key } = await startWithIssuer();
    const alice = browser();
    await alice.signIn();
    const own = await key({ person: 'alice' });
    expect((await call('GET /v2/grants', { key: own })).status).toBe(200);
    account.claims = { preferred_username: 'alice' };
    expect((await browser().signIn()).status).toBe(403);
    expect(await alice.me()).toMatchObject({ code: 'api_auth_required' });
    expect((await call('GET /v2/grants', { key: own })).status).toBe(401);
    expect((await call('GET /v2/people/alice')).body.role).toBe('none');
    account.claims = { groups: ['staff'], preferred_username: 'alice' };
    await browser().signIn();
    expect((await call('GET /v2/people/alice')).body.role).toBe('user');
    // The role came back, and the session and the key of before did not.
    expect(await alice.me()).toMatchObject({ code: 'api_auth_required' });
    expect((await call('GET /v2/grants', { key: own })).status).toBe(401);
  });

  it('creates nobody with the reserved name for grants without an owner', async () => {
    const { browser, account, call } = await startWithIssuer();
    account.claims = { groups: ['staff'], preferred_username: 'default' };
    const page = await browser().signIn();
    expect([page.status, sessionOf(page)]).toEqual([400, undefined]);
    expect((await call('GET /v2/people')).body.data).toEqual([]);
  });

  it('lasts 12 hours regardless of use, and so do the keys that the person creates', async () => {
    let at = Date.now();
    const { browser, call } = await startWithIssuer({ now: () => at });
    const alice = browser();
    await alice.signIn();
    const end = at + 12 * 3_600_000;
    const body = { name: 'laptop', role: 'operator', expires: '90d' };
    const headers = { 'content-type': 'application/json' };
    const made = (await alice.open('POST /v2/api-keys', { body, headers })).body as {
      key: string;
      expires_at: string;
    };
    expect(Date.parse(made.expires_at)).toBe(end);
    at = end - 3_600_000;
    expect(await alice.me()).toMatchObject({ name: 'alice' });
    expect((await call('GET /v2/me', { key: made.key })).status).toBe(200);
    at = end;
    expect(await alice.me()).toMatchObject({ code: 'api_auth_required' });
    expect((await call('GET /v2/me', { key: made.key })).status).toBe(401);
  });
});
