/** Rights that ended when a person or an agent was disabled do not return when it is enabled. */
import { hash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { makeSignInLink } from '../../src/operations/sign-in-link.ts';
import { hashToken } from '../../src/agents/authentication.ts';
import { back, returned, startConnecting } from '../support/connect-session.ts';
import { openTunnel } from '../support/raw-client.ts';
import { addAgent, leaseRecord } from '../support/rights.ts';
import { startSidekey } from '../support/sidekey.ts';
import { startUpstream } from '../support/upstream.ts';
import { allGrants } from '../support/all-grants.ts';

const verifier = 'v'.repeat(43);
const challenge = hash('sha256', verifier, 'base64url');

/** A service with the person alice, who is signed in. */
async function withAlice() {
  const service = await startConnecting();
  const { call, sidekey, url } = service;
  await call('POST /v2/people', { body: { name: 'alice', role: 'operator' } });
  const origin = { origin: url, 'sec-fetch-site': 'same-origin' };
  const link = async () => (await makeSignInLink({ ...sidekey.proxy.state, now: Date.now }, 'alice')).path;
  const signIn = async (path: string) => call(`POST ${path}`, { key: null, headers: origin });
  const session = async () => ({
    ...origin,
    authorization: `Bearer ${(await signIn(await link())).body.session}`,
  });
  const own = await session();
  const asAlice = (request: string, body?: unknown) => call(request, { key: null, headers: own, body });
  const code = async () => (await asAlice('POST /v2/me/login-codes', { challenge })).body.code as string;
  const exchange = async (of: string) =>
    call('POST /sign-in/login', { key: null, body: { code: of, verifier } });
  const set = (body: object) => call('PATCH /v2/people/alice', { body });
  return { ...service, link, signIn, session, own, asAlice, code, exchange, set };
}

type Service = Awaited<ReturnType<typeof withAlice>>;

/** Makes something while the person is enabled, and returns a function that tries to use it: its status. */
type Try = () => Promise<unknown>;

const things: readonly (readonly [string, (at: Service) => Promise<Try>, unknown])[] = [
  [
    'a session',
    async ({ asAlice }) =>
      async () =>
        (await asAlice('GET /v2/me')).status,
    401,
  ],
  [
    'a link',
    async ({ link, signIn }) => {
      const path = await link();
      return async () => (await signIn(path)).status;
    },
    401,
  ],
  [
    'an API key',
    async ({ asAlice, call }) => {
      const { key } = (await asAlice('POST /v2/api-keys', { name: 'laptop', role: 'operator' })).body;
      return async () => (await call('GET /v2/me', { key })).status;
    },
    401,
  ],
  [
    'a key that a key has created',
    async ({ asAlice, call }) => {
      const first = (await asAlice('POST /v2/api-keys', { name: 'laptop', role: 'operator' })).body;
      const body = { name: 'second', role: 'operator' };
      const { key } = (await call('POST /v2/api-keys', { key: first.key, body })).body;
      return async () => (await call('GET /v2/me', { key })).status;
    },
    401,
  ],
  [
    'the code of a login',
    async ({ code, exchange }) => {
      const of = await code();
      return async () => (await exchange(of)).status;
    },
    401,
  ],
  [
    'the key of a login',
    async ({ code, exchange, call }) => {
      const { key } = (await exchange(await code())).body;
      return async () => (await call('GET /v2/me', { key })).status;
    },
    401,
  ],
  [
    'the link of a connect session',
    async ({ asAlice, ...at }) => {
      const body = { provider: 'acme', user: 'alice', return_url: back };
      const { connect_url: url } = (await asAlice('POST /v2/connect-sessions', body)).body;
      return async () => returned(await at.browser().press(url)).searchParams.get('error');
    },
    'api_auth_required',
  ],
  [
    'the consent of a connect session',
    async ({ asAlice, sidekey, ...at }) => {
      const body = { provider: 'acme', user: 'alice', return_url: back };
      const { connect_url: url } = (await asAlice('POST /v2/connect-sessions', body)).body;
      const mine = at.browser();
      const callback = await mine.consent(url);
      return async () => {
        const error = returned(await mine.open(callback)).searchParams.get('error');
        expect(await allGrants(sidekey.proxy.state.store)).toEqual([]);
        return error;
      };
    },
    'api_auth_required',
  ],
  [
    'a stream of audit lines',
    async ({ url, own }) => {
      const response = await fetch(`${url}/v2/audit/stream`, { headers: own });
      const reader = response.body!.getReader();
      await reader.read();
      return async () => {
        while (!(await reader.read()).done);
        return 'ended';
      };
    },
    'ended',
  ],
];

describe('a person who was disabled and is enabled again', () => {
  test.each(things)('does not get back %s', async (_name, make, refused) => {
    const at = await withAlice();
    const use = await make(at);
    await at.set({ disabled: true });
    await at.set({ disabled: false });
    expect(await use()).toEqual(refused);
  });

  test.each(things)('cannot use %s while disabled', async (_name, make, refused) => {
    const at = await withAlice();
    const use = await make(at);
    await at.set({ disabled: true });
    // A line for the stream.
    await at.call('POST /v2/agents', { body: { name: 'other' } });
    expect(await use()).toEqual(refused);
  });

  test('can sign in again and create new keys, and the old keys are shown as ended', async () => {
    const at = await withAlice();
    await at.asAlice('POST /v2/api-keys', { name: 'old', role: 'operator' });
    await at.set({ disabled: true });
    const body = { name: 'early', role: 'operator', person: 'alice' };
    expect((await at.call('POST /v2/api-keys', { body })).status).toBe(404);
    await at.set({ disabled: false });
    const headers = await at.session();
    const made = await at.call('POST /v2/api-keys', {
      key: null,
      headers,
      body: { name: 'new', role: 'operator' },
    });
    expect((await at.call('GET /v2/me', { key: made.body.key })).body).toMatchObject({ name: 'key new' });
    const { data } = (await at.call('GET /v2/api-keys')).body;
    const ends = Object.fromEntries(
      data
        .filter(({ person }: { person: string | null }) => person === 'alice')
        .map(({ name, expires_at }: { name: string; expires_at: string }) => [
          name,
          Date.parse(expires_at) > Date.now(),
        ]),
    );
    expect(ends).toEqual({ old: false, new: true });
  });
});

describe('a person with a lower role', () => {
  test('has only the rights of that role from the next request of a session or a key', async () => {
    const at = await withAlice();
    const { key } = (await at.asAlice('POST /v2/api-keys', { name: 'laptop', role: 'operator' })).body;
    await at.set({ role: 'auditor' });
    const body = { name: 'x' };
    expect((await at.asAlice('POST /v2/agents', body)).body.code).toBe('scope_missing');
    expect((await at.call('POST /v2/agents', { key, body })).body.code).toBe('scope_missing');
  });
});

test('an agent that was disabled and is enabled again has its token and none of its leases', async () => {
  const upstream = await startUpstream((_request, response) => response.end('ok'));
  const sidekey = await startSidekey({ domains: { [upstream.authority]: { grant: 'acme' } } });
  await sidekey.grant([upstream.authority]);
  const { store } = sidekey.proxy.state;
  const at = Date.now();
  for (const name of ['robot', 'other']) {
    await addAgent(store, name, `${name}-token`);
    const times = { createdAt: at, expiresAt: at + 900_000 };
    const tokenHash = hashToken(`${name}-lease`);
    await store.leases.insert(leaseRecord({ agent: name, grants: null, tokenHash, ...times }));
  }
  const statuses = async () => {
    const found: unknown[] = [];
    for (const userInfo of ['robot:robot-token', 'robot:robot-lease', 'other:other-lease']) {
      const field = `Proxy-Authorization: Basic ${Buffer.from(userInfo).toString('base64')}`;
      const opened = await openTunnel(sidekey, upstream.authority, { fields: [field] }).catch(String);
      found.push(typeof opened === 'string' ? /\d{3}/.exec(opened)?.[0] : '200');
      if (typeof opened !== 'string') opened.socket.destroy();
    }
    return found;
  };
  expect(await statuses()).toEqual(['200', '200', '200']);
  await store.agents.change('robot', { disabledAt: at });
  expect(await statuses()).toEqual(['407', '407', '200']);
  await store.agents.change('robot', { disabledAt: null });
  expect(await statuses()).toEqual(['200', '403', '200']);
  const ends = (await store.leases.find()).map(({ agent, revokedAt }) => [agent, revokedAt]);
  expect(Object.fromEntries(ends)).toEqual({ robot: at, other: null });
});
