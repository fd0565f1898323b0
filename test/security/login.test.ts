import { hash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { makeSignInLink } from '../../src/operations/sign-in-link.ts';
import { startService } from '../support/service.ts';

const verifier = 'v'.repeat(43);
const challenge = hash('sha256', verifier, 'base64url');

/** A service in which alice is signed in at the pages. */
async function withAlice(role = 'operator', now = Date.now) {
  const service = await startService({ now });
  const { call, sidekey, url } = service;
  await call('POST /v2/people', { body: { name: 'alice', role } });
  const { path } = await makeSignInLink({ ...sidekey.proxy.state, now }, 'alice');
  const origin = { origin: url, 'sec-fetch-site': 'same-origin' };
  const signedIn = await call(`POST ${path}`, { key: null, headers: origin });
  const own = { ...origin, authorization: `Bearer ${signedIn.body.session}` };
  const ask = (headers: Readonly<Record<string, string>> = own, key: string | null = null) =>
    call('POST /v2/me/login-codes', { key, headers, body: { challenge } });
  const code = async () => (await ask()).body.code as string;
  const exchange = async (of: string, by = verifier) =>
    call('POST /sign-in/login', { key: null, body: { code: of, verifier: by } });
  return { ...service, own, ask, code, exchange };
}

describe('the code of a login', () => {
  it('creates a key with the person and the role, for 12 hours, once', async () => {
    const { call, code, exchange } = await withAlice('user');
    const of = await code();
    const made = await exchange(of);
    expect([made.status, made.body]).toMatchObject([201, { person: 'alice', role: 'user', user: 'alice' }]);
    expect(Date.parse(made.body.expires_at) - Date.parse(made.body.created_at)).toBe(12 * 3_600_000);
    expect((await call('GET /v2/me', { key: made.body.key })).body).toMatchObject({ user: 'alice' });
    expect((await exchange(of)).body.code).toBe('api_auth_required');
  });

  it('is useless without the verifier, and is then used up', async () => {
    const { code, exchange } = await withAlice();
    const of = await code();
    expect((await exchange(of, 'w'.repeat(43))).status).toBe(401);
    expect((await exchange(of)).status).toBe(401);
  });

  it('is refused after a minute, and for a disabled person', async () => {
    let at = Date.now();
    const { call, code, exchange } = await withAlice('operator', () => at);
    const late = await code();
    at += 60_001;
    expect((await exchange(late)).status).toBe(401);
    const of = await code();
    await call('PATCH /v2/people/alice', { body: { disabled: true } });
    expect((await exchange(of)).status).toBe(401);
  });

  it('is issued to no page of another origin and to no key', async () => {
    const { ask, own, key } = await withAlice();
    expect((await ask({ ...own, 'sec-fetch-site': 'cross-site' })).status).toBe(421);
    expect((await ask({ ...own, origin: 'https://evil.example' })).status).toBe(421);
    expect((await ask({}, await key({ person: null }))).body.code).toBe('scope_missing');
  });
});

describe('the key of a login', () => {
  it('revokes only itself', async () => {
    const { call, code, exchange, own } = await withAlice('user');
    const [first, second] = [await exchange(await code()), await exchange(await code())];
    const ended = await call('DELETE /v2/me/key', { key: first.body.key });
    expect(ended.body).toEqual({ name: first.body.name, revoked: true });
    expect((await call('GET /v2/me', { key: first.body.key })).status).toBe(401);
    expect((await call('GET /v2/me', { key: second.body.key })).status).toBe(200);
    expect((await call('DELETE /v2/me/key', { key: null, headers: own })).status).toBe(400);
  });

  it('is removed by the next login after it has expired', async () => {
    let at = Date.now();
    const { call, code, exchange } = await withAlice('operator', () => at);
    const first = await exchange(await code());
    at += 7 * 3_600_000;
    await exchange(await code());
    at += 6 * 3_600_000;
    await exchange(await code());
    const names = (await call('GET /v2/api-keys')).body.data.map(({ name }: { name: string }) => name);
    expect(names.filter((name: string) => name.startsWith('login-'))).toHaveLength(2);
    expect(names).not.toContain(first.body.name);
  });
});
