import { describe, expect, it } from 'vitest';
import { makeSignInLink } from '../../src/operations/sign-in-link.ts';
import { startService, type TestService } from '../support/service.ts';

/** A service with a person, and the fields that the page of the person sends. */
async function withPerson(role = 'operator', now = Date.now) {
  const service = await startService({ now });
  const { call, sidekey, url } = service;
  await call('POST /v2/people', { body: { name: 'alice', role } });
  const link = async () => (await makeSignInLink({ ...sidekey.proxy.state, now }, 'alice')).path;
  const own = { origin: url, 'sec-fetch-site': 'same-origin' };
  const signIn = async (headers: Readonly<Record<string, string>> = own) =>
    call(`POST ${await link()}`, { key: null, headers });
  return { ...service, link, own, signIn };
}

/** Returns the field that a page sends after a sign-in. */
const sessionOf = ({ body }: Awaited<ReturnType<TestService['call']>>) => ({
  authorization: `Bearer ${body.session}`,
});

describe('a sign-in link', () => {
  it('shows a page with GET and stays valid, and signs in with POST once', async () => {
    const { call, link, own } = await withPerson();
    const path = await link();
    for (const _ of [1, 2]) {
      const page = await call(`GET ${path}`, { key: null });
      expect([page.status, page.body]).toEqual([200, expect.not.stringContaining('ws_')]);
    }
    const first = await call(`POST ${path}`, { key: null, headers: own });
    expect([first.status, first.body]).toEqual([200, { session: expect.stringMatching(/^ws_[\w-]{43}$/) }]);
    expect(first.headers.get('cache-control')).toBe('no-store');
    expect((await call(`POST ${path}`, { key: null, headers: own })).body.code).toBe('api_auth_required');
    const me = await call('GET /v2/me', { key: null, headers: sessionOf(first) });
    expect(me.body).toMatchObject({ name: 'alice', role: 'operator', user: null });
  });

  it('is refused after ten minutes, and for a disabled person', async () => {
    let at = Date.now();
    const { call, link, own } = await withPerson('operator', () => at);
    const late = await link();
    at += 600_001;
    expect((await call(`POST ${late}`, { key: null, headers: own })).status).toBe(401);
    const path = await link();
    await call('PATCH /v2/people/alice', { body: { disabled: true } });
    expect((await call(`POST ${path}`, { key: null, headers: own })).status).toBe(401);
  });

  it('cannot be used by a page of another origin', async () => {
    const { call, link, signIn } = await withPerson();
    for (const headers of [
      { origin: 'https://evil.example' },
      { origin: 'null' },
      { 'sec-fetch-site': 'cross-site' },
      {},
    ]) {
      expect((await call(`POST ${await link()}`, { key: null, headers })).body.code).toBe(
        'authority_mismatch',
      );
    }
    expect((await signIn()).status).toBe(200);
  });
});

/** A service with links of `sidekey open`, and what their page sends. */
async function withOpenLink(now = Date.now) {
  const service = await withPerson('operator', now);
  const { call, own, sidekey } = service;
  const secretOf = async () => {
    const { path } = await makeSignInLink({ ...sidekey.proxy.state, now }, 'alice', 'open');
    expect(path).toMatch(/^\/sign-in\/open#[\w-]{43}$/);
    return path.split('#')[1]!;
  };
  const post = async (secret: string, headers: Readonly<Record<string, string>> = own) =>
    call('POST /sign-in/open', { key: null, headers, body: { secret } });
  return { ...service, secretOf, post };
}

describe('a link of sidekey open', () => {
  it('signs in once, and not after a minute', async () => {
    let at = Date.now();
    const { secretOf, post } = await withOpenLink(() => at);
    const [used, late] = [await secretOf(), await secretOf()];
    at += 59_999;
    expect((await post(used)).body).toEqual({ session: expect.stringMatching(/^ws_/) });
    expect((await post(used)).body.code).toBe('api_auth_required');
    at += 1;
    expect((await post(late)).body).toMatchObject({
      code: 'api_auth_required',
      detail: 'This link was used before, or is older than a minute.',
    });
  });

  it('is not used up by a GET, by a page of another origin, or by the address of the other kind', async () => {
    const { call, own, secretOf, post } = await withOpenLink();
    const secret = await secretOf();
    for (const path of ['open', secret])
      expect((await call(`GET /sign-in/${path}`, { key: null })).status).toBe(200);
    for (const headers of [{}, { origin: 'https://evil.example' }, { 'sec-fetch-site': 'cross-site' }])
      expect((await post(secret, headers)).body.code).toBe('authority_mismatch');
    expect((await call(`POST /sign-in/${secret}`, { key: null, headers: own })).status).toBe(401);
    expect((await post(secret)).status).toBe(200);
  });

  // Its page asks nothing: an attacker could sign a person in as somebody else with a link for themselves.
  it('cannot be a link that the API made', async () => {
    const { call, own, post } = await withOpenLink();
    const { url } = (await call('POST /v2/people/alice/link')).body;
    const secret = new URL(url).pathname.split('/').at(-1)!;
    expect((await post(secret)).status).toBe(401);
    expect((await call(`POST /sign-in/${secret}`, { key: null, headers: own })).status).toBe(200);
  });

  it('is refused for a person who was disabled since, and counts as an attempt', async () => {
    const { call, secretOf, post } = await withOpenLink();
    const secret = await secretOf();
    await call('PATCH /v2/people/alice', { body: { disabled: true } });
    expect((await post(secret)).status).toBe(401);
    for (let i = 0; i < 19; i += 1) expect((await post('x')).status).toBe(401);
    expect((await post('x')).status).toBe(429);
  });
});

describe('a session', () => {
  it('has a new secret after each sign-in, and the previous session ends', async () => {
    const { call, link, signIn, own } = await withPerson();
    const planted = { authorization: `Bearer ws_${'a'.repeat(43)}` };
    const first = sessionOf(await signIn({ ...own, ...planted }));
    expect(first).not.toEqual(planted);
    expect((await call('GET /v2/me', { key: null, headers: planted })).status).toBe(401);
    const second = sessionOf(
      await call(`POST ${await link()}`, { key: null, headers: { ...own, ...first } }),
    );
    expect((await call('GET /v2/me', { key: null, headers: first })).status).toBe(401);
    expect((await call('GET /v2/me', { key: null, headers: second })).status).toBe(200);
  });

  it('cannot make changes from a page of another origin', async () => {
    const { call, signIn, own } = await withPerson();
    const session = sessionOf(await signIn());
    const attempt = (headers: Readonly<Record<string, string>>) =>
      call('POST /v2/agents', { key: null, headers: { ...session, ...headers }, body: { name: 'evil' } });
    for (const headers of [
      {},
      { origin: 'https://evil.example' },
      { origin: 'https://evil.example', 'sec-fetch-site': 'cross-site' },
      { ...own, 'sec-fetch-site': 'same-site' },
      { origin: own.origin, 'sec-fetch-site': 'cross-site' },
    ]) {
      expect((await attempt(headers)).body.code).toBe('authority_mismatch');
    }
    const read = await call('GET /v2/agents', {
      key: null,
      headers: { ...session, 'sec-fetch-site': 'cross-site' },
    });
    expect(read.body.code).toBe('authority_mismatch');
    const out = await call('POST /sign-out', {
      key: null,
      headers: { ...session, 'sec-fetch-site': 'same-site' },
    });
    expect(out.body.code).toBe('authority_mismatch');
    expect((await attempt(own)).status).toBe(201);
  });

  it('ends 12 hours after its last use, 7 days after the sign-in, and at a sign-out', async () => {
    let at = Date.now();
    const { call, signIn, own } = await withPerson('operator', () => at);
    const hour = 3_600_000;
    const session = sessionOf(await signIn());
    const status = async () => (await call('GET /v2/me', { key: null, headers: session })).status;
    for (let used = 0; used < 16; used += 1) {
      at += 10 * hour;
      expect(await status()).toBe(200);
    }
    at += 9 * hour;
    expect(await status()).toBe(401);
    const idle = sessionOf(await signIn());
    at += 12 * hour + 1;
    expect((await call('GET /v2/me', { key: null, headers: idle })).status).toBe(401);
    const open = sessionOf(await signIn());
    const out = await call('POST /sign-out', { key: null, headers: { ...own, ...open } });
    expect(out.status).toBe(204);
    expect((await call('GET /v2/me', { key: null, headers: open })).status).toBe(401);
  });

  it('ends when its person is removed, and loses rights that a new role lacks', async () => {
    const { call, signIn, own } = await withPerson();
    const session = sessionOf(await signIn());
    const headers = { ...own, ...session };
    await call('PATCH /v2/people/alice', { body: { role: 'auditor' } });
    expect((await call('POST /v2/agents', { key: null, headers, body: { name: 'x' } })).body.code).toBe(
      'scope_missing',
    );
    await call('PATCH /v2/people/alice', { body: { disabled: true } });
    expect((await call('GET /v2/me', { key: null, headers })).status).toBe(401);
    await call('PATCH /v2/people/alice', { body: { disabled: false } });
    await call('DELETE /v2/people/alice');
    expect((await call('GET /v2/me', { key: null, headers })).status).toBe(401);
  });

  it('and a link become invalid when the person is removed, even if another person gets the name', async () => {
    let at = Date.now();
    const { call, signIn, link, own } = await withPerson('operator', () => at);
    const session = sessionOf(await signIn());
    const path = await link();
    at += 1_000;
    await call('DELETE /v2/people/alice');
    await call('POST /v2/people', { body: { name: 'alice', role: 'operator' } });
    expect((await call('GET /v2/me', { key: null, headers: session })).status).toBe(401);
    expect((await call(`POST ${path}`, { key: null, headers: own })).status).toBe(401);
  });

  it('of the role user shows only the grants of that user', async () => {
    const { call, signIn, sidekey } = await withPerson('user');
    for (const user of ['alice', 'bob']) await sidekey.grant(['api.example.com'], { user, name: 'desk' });
    const { body } = await call('GET /v2/grants', {
      key: null,
      headers: sessionOf(await signIn()),
    });
    expect(body.data.map(({ user }: { user: string }) => user)).toEqual(['alice']);
  });
});

describe('an API key of a person', () => {
  it('loses the rights that the person loses, and is refused after the person is removed', async () => {
    const { call, key } = await withPerson();
    const mine = await key({ person: 'alice' });
    expect((await call('POST /v2/agents', { key: mine, body: { name: 'a' } })).status).toBe(201);
    await call('PATCH /v2/people/alice', { body: { role: 'auditor' } });
    expect((await call('POST /v2/agents', { key: mine, body: { name: 'b' } })).body.code).toBe(
      'scope_missing',
    );
    expect((await call('GET /v2/agents', { key: mine })).status).toBe(200);
    await call('PATCH /v2/people/alice', { body: { disabled: true } });
    expect((await call('GET /v2/agents', { key: mine })).status).toBe(401);
    await call('DELETE /v2/people/alice');
    expect((await call('GET /v2/agents', { key: mine })).status).toBe(401);
  });

  it('can no longer read token values after the person lost the role for that', async () => {
    const { call, key, sidekey } = await withPerson();
    await sidekey.grant(['api.example.com'], { user: 'bob', name: 'desk' });
    const mine = await key({ person: 'alice', scopes: ['grants:read', 'tokens:read'] });
    const read = async () => (await call('GET /v2/users/bob/tokens/desk', { key: mine })).body;
    expect(await read()).toHaveProperty('token_data');
    await call('PATCH /v2/people/alice', { body: { role: 'auditor' } });
    expect(await read()).toMatchObject({ provider: 'acme' });
    expect(await read()).not.toHaveProperty('token_data');
  });

  it('cannot create a key with a role that it lacks', async () => {
    const { call, key } = await withPerson();
    const narrow = await key({ scopes: ['config:write'] });
    const body = { name: 'eve', role: 'operator' };
    expect((await call('POST /v2/people', { key: narrow, body })).body.code).toBe('scope_missing');
    expect((await call('POST /v2/people/alice/link', { key: narrow })).body.code).toBe('scope_missing');
    const change = { role: 'operator' };
    expect((await call('PATCH /v2/people/alice', { key: narrow, body: change })).body.code).toBe(
      'scope_missing',
    );
  });
});

describe('many requests without a valid key', () => {
  it('from one address are slowed down over all processes, and a valid key is still accepted', async () => {
    const { call, sidekey } = await startService();
    for (let i = 0; i < 20; i += 1) expect((await call('GET /v2/me', { key: `sk_${i}` })).status).toBe(401);
    const { status, headers } = await call('GET /v2/me', { key: 'sk_x' });
    expect(status).toBe(429);
    expect(Number(headers.get('retry-after'))).toBeGreaterThan(0);
    expect((await call('GET /v2/me')).status).toBe(200);
    const other = await startService({ folder: sidekey.folder });
    expect((await other.call('GET /v2/me', { key: 'sk_y' })).status).toBe(429);
  });
});
