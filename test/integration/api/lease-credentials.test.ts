import { describe, expect, test } from 'vitest';
import { removeGrantsOfEndedLeases } from '../../../src/grants/lease-grants.ts';
import { openTunnel } from '../../support/raw-client.ts';
import { startService } from '../../support/service.ts';
import { startUpstream } from '../../support/upstream.ts';
import { allGrants } from '../../support/all-grants.ts';

const start = Date.now();

/**
 * A proxy with an agent that reaches everything, and a lease of another agent with a credential of its own.
 */
async function setup() {
  const seen: (string | undefined)[] = [];
  const upstream = await startUpstream((request, response) => {
    seen.push(request.headers.authorization);
    response.end('ok');
  });
  let time = start;
  const service = await startService({
    domains: { [upstream.authority]: { grant: 'acme' } },
    config: { providers: { acme: { audience: [upstream.authority] } } },
    now: () => time,
  });
  const { call, sidekey } = service;
  await call('POST /v2/agents', { body: { name: 'ci' } });
  const { body: other } = await call('POST /v2/agents', { body: { name: 'other', everything: true } });
  const credential = { provider: 'acme', credential: { api_key: 'key-of-the-session-0123' } };
  const lease = (...credentials: readonly object[]) =>
    call('POST /v2/leases', { body: { agent: 'ci', purpose: 'a session', ttl: '15m', credentials } });
  const made = await lease(credential);
  const ask = async (userInfo: string | null) => {
    const proxy =
      userInfo === null ? [] : [`Proxy-Authorization: Basic ${Buffer.from(userInfo).toString('base64')}`];
    const client = await openTunnel(sidekey, upstream.authority, { fields: proxy }).catch(() => null);
    client?.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    return (await client?.response())?.reason ?? 'refused at CONNECT';
  };
  const { store } = sidekey.proxy.state;
  return {
    ...service,
    lease,
    made,
    other,
    ask,
    seen,
    credential,
    store,
    advance: (ms: number) => (time += ms),
  };
}

describe('a credential that belongs to a lease', () => {
  test('can only be used by the holder of the lease', async () => {
    const { made, other, ask, seen, store } = await setup();
    expect(made.status).toBe(201);
    expect(await allGrants(store)).toMatchObject([
      { provider: 'acme', lease: made.body.id, name: `acme-${made.body.id.slice(0, 8)}` },
    ]);
    expect(await ask(`ci:${made.body.token}`)).toBe('OK');
    expect(seen).toEqual(['Bearer key-of-the-session-0123']);
    expect(await ask(`other:${other.token}`)).not.toBe('OK');
    expect(await ask(null)).not.toBe('OK');
    expect(seen).toHaveLength(1);
  });

  test('is refused with a policy, which would have no effect', async () => {
    const { lease, store } = await setup();
    const credential = { api_key: 'key-of-the-session-4567', policy: { expires: '1h' } };
    expect((await lease({ provider: 'acme', credential })).body.detail).toContain('has metadata or a policy');
    expect(await allGrants(store)).toHaveLength(1);
  });

  test('is deleted when the lease is revoked', async () => {
    const { call, made, ask, store, sidekey } = await setup();
    await call(`POST /v2/leases/${made.body.id}/revoke`, { body: {} });
    expect(await ask(`ci:${made.body.token}`)).not.toBe('OK');
    expect(await allGrants(store)).toEqual([]);
    expect(await sidekey.audit()).toContainEqual(
      expect.objectContaining({ event: 'grant.removed', lease: made.body.id, reason: 'its lease ended' }),
    );
  });

  test('is deleted after the end of the lease, not earlier', async () => {
    const { sidekey, store, advance } = await setup();
    const { state } = sidekey.proxy;
    await removeGrantsOfEndedLeases(state, start);
    expect(await allGrants(store)).toHaveLength(1);
    advance(900_000);
    await removeGrantsOfEndedLeases(state, start + 900_000);
    expect(await allGrants(store)).toEqual([]);
  });

  test('with a name already in use is refused, and neither the lease nor its other credentials remain', async () => {
    const { lease, credential, store, call, sidekey } = await setup();
    const named = { ...credential, name: 'taken' };
    const refused = await lease(credential, named, named);
    expect(refused).toMatchObject({ status: 409, body: { code: 'already_exists' } });
    expect(await allGrants(store)).toHaveLength(1);
    const { body } = await call('GET /v2/leases');
    expect(body.data).toHaveLength(1);
    const { lease: begun } = (await sidekey.audit()).findLast(({ event }) => event === 'lease.created')!;
    expect(await sidekey.audited(({ event }) => event === 'lease.revoked')).toMatchObject({
      lease: begun,
      outcome: 'allow',
      reason: 'its credentials could not be stored',
    });
  });

  test('of an unknown provider is refused before the lease is created', async () => {
    const { lease, call } = await setup();
    const refused = await lease({ provider: 'nobody', credential: { api_key: 'k-0123456789' } });
    expect(refused).toMatchObject({ status: 404, body: { code: 'provider_unknown' } });
    expect((await call('GET /v2/leases')).body.data).toHaveLength(1);
  });
});

test('a lease without a grant and without a credential is refused', async () => {
  const { lease } = await setup();
  const { status, body } = await lease();
  expect([status, body.code]).toEqual([400, 'input_invalid']);
});

test('a lease is not renewed if its number of uses would exceed the largest safe integer', async () => {
  const { call, credential } = await setup();
  const uses = 999_999_999;
  const body = { agent: 'ci', purpose: 'a session', credentials: [credential], max_uses: uses };
  const { body: lease } = await call('POST /v2/leases', { body });
  const renew = (more: number) => call(`POST /v2/leases/${lease.id}/renew`, { body: { uses: more } });
  expect(await renew(Number.MAX_SAFE_INTEGER)).toMatchObject({
    status: 400,
    body: { code: 'input_invalid' },
  });
  expect(await renew(uses)).toMatchObject({ status: 200, body: { max_uses: 2 * uses } });
});
