import { describe, expect, test } from 'vitest';
import type { Binding } from '../../../src/domain/lease.ts';
import { hashToken } from '../../../src/agents/authentication.ts';
import type { LeaseRecord } from '../../../src/store/store.ts';
import { openClient, openTunnel, problemOf, type RawClient } from '../../support/raw-client.ts';
import { addAgent, leaseRecord } from '../../support/rights.ts';
import { startSidekey, type TestSidekey } from '../../support/sidekey.ts';
import { startUpstream } from '../../support/upstream.ts';

const start = Date.now();
const basic = (userInfo: string) => `Proxy-Authorization: Basic ${Buffer.from(userInfo).toString('base64')}`;
const key = (value: string) => ({ credential: { type: 'api_key' as const, value } });

/**
 * Grants of two users and two providers, all offered by one domain; an agent, and a clock that the test
 * moves.
 */
async function setup(bindings: readonly Binding[], agent: { readonly user?: string } = {}) {
  const seen: (string | undefined)[] = [];
  const upstream = await startUpstream((request, response) => {
    seen.push(request.headers.authorization?.replace('Bearer ', ''));
    response.end('ok');
  });
  let time = start;
  const sidekey = await startSidekey({
    domains: { [upstream.authority]: { grant: 'acme' } },
    now: () => time,
  });
  const grant = (name: string, user: string) =>
    sidekey.grant([upstream.authority], { name, user, ...key(`${user}-${name}`) });
  const grants = {
    work: await grant('work', 'alice'),
    home: await grant('home', 'alice'),
    bobs: await grant('work', 'bob'),
  };
  await addAgent(sidekey.proxy.state.store, 'robot', 'own', { bindings, ...agent });
  const lease = async (secret: string, ids: readonly string[], fields: Partial<LeaseRecord> = {}) => {
    const record = leaseRecord({
      agent: 'robot',
      tokenHash: hashToken(secret),
      grants: ids,
      createdAt: start,
      expiresAt: start + 900_000,
      ...fields,
    });
    await sidekey.proxy.state.store.leases.insert(record);
    return record;
  };
  const tunnel = (userInfo: string) => openTunnel(sidekey, upstream.authority, { fields: [basic(userInfo)] });
  const ask = async (client: RawClient, ...fields: readonly string[]) => {
    client.send(
      `GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n`,
      ...fields.map((it) => `${it}\r\n`),
      '\r\n',
    );
    return client.response();
  };
  return {
    upstream,
    sidekey,
    seen,
    grants,
    lease,
    tunnel,
    ask,
    store: sidekey.proxy.state.store,
    advance: (ms: number) => (time += ms),
  };
}

const alices: Binding = { kind: 'user', value: 'alice' };

describe('a grant that is not bound to the agent', () => {
  test.each([
    ['by its name', 'robot+grant=work+user=bob:own', []],
    ['by its user', 'robot+user=bob:own', []],
    ['by Sidekey-Grant', 'robot+user=bob:own', ['Sidekey-Grant: work']],
    ['under a lease', 'robot+user=bob:lease', []],
  ])('is refused like a missing grant: %s', async (_name, userInfo, fields) => {
    const { tunnel, ask, lease, grants, seen } = await setup([alices]);
    await lease('lease', [grants.work.id, grants.bobs.id]);
    const answer = await ask(await tunnel(userInfo), ...fields);
    expect(answer).toMatchObject({ status: 403, reason: 'grant_missing' });
    // A missing grant gets the same message.
    const nobodys = await ask(await tunnel(userInfo.replace('bob', 'eve')), ...fields);
    expect(problemOf(answer)).toEqual(
      JSON.parse(JSON.stringify(problemOf(nobodys)).replaceAll('eve', 'bob')),
    );
    expect(problemOf(answer).hint).toContain(
      userInfo.endsWith('lease')
        ? 'sidekey lease create --agent robot --grant'
        : 'sidekey agent bind robot --grant',
    );
    expect(seen).toEqual([]);
  });

  test('does not make the choice among bound grants ambiguous', async () => {
    const { tunnel, ask, seen, store, grants } = await setup([]);
    const client = await tunnel('robot:own');
    expect(await ask(client)).toMatchObject({ status: 403, reason: 'grant_missing' });
    await store.bindings.add('robot', [{ kind: 'grant', value: grants.home.id }], start);
    expect(await ask(client)).toMatchObject({ status: 200 });
    await store.bindings.add('robot', [{ kind: 'grant', value: grants.bobs.id }], start);
    expect(await ask(client)).toMatchObject({ status: 409, reason: 'grant_ambiguous' });
    expect(await ask(client, 'Sidekey-Grant: home')).toMatchObject({ status: 200 });
    expect(seen).toEqual(['alice-home', 'alice-home']);
  });

  test('becomes usable or unusable when a bound label is added to it or removed', async () => {
    const { tunnel, ask, seen, store, grants } = await setup([{ kind: 'label', value: 'staging' }]);
    const client = await tunnel('robot:own');
    expect(await ask(client)).toMatchObject({ status: 403 });
    await store.grantPolicies.set(grants.bobs.id, { labels: ['staging'] });
    expect(await ask(client)).toMatchObject({ status: 200 });
    await store.grantPolicies.set(grants.bobs.id, { labels: [] });
    expect(await ask(client)).toMatchObject({ status: 403 });
    expect(seen).toEqual(['bob-work']);
  });

  test('is available to a loopback caller without a token', async () => {
    const { upstream, sidekey, ask, seen } = await setup([]);
    const client = await openTunnel(sidekey, upstream.authority, { fields: [basic('+user=bob:')] });
    expect(await ask(client)).toMatchObject({ status: 200 });
    expect(seen).toEqual(['bob-work']);
  });
});

test('an agent with a user uses the grants of that user by default', async () => {
  const { tunnel, ask, seen, grants } = await setup(
    [
      { kind: 'provider', value: 'acme' },
      { kind: 'user', value: 'bob' },
    ],
    { user: 'alice' },
  );
  expect(await ask(await tunnel('robot+grant=work:own'))).toMatchObject({ status: 200 });
  expect(await ask(await tunnel('robot+grant=work+user=bob:own'))).toMatchObject({ status: 200 });
  expect(await ask(await tunnel(`robot+grant=${grants.bobs.id}:own`))).toMatchObject({ status: 200 });
  // Both grants of alice match: acting for her does not select one.
  expect(await ask(await tunnel('robot:own'))).toMatchObject({ status: 409 });
  expect(seen).toEqual(['alice-work', 'bob-work', 'bob-work']);
});

describe('a lease', () => {
  test('authenticates as the password of its agent, and the audit log names the agent', async () => {
    const { tunnel, ask, lease, grants, seen, sidekey } = await setup([alices]);
    const { id } = await lease('lease-token-that-nobody-may-find', [grants.home.id]);
    expect(await ask(await tunnel('robot:lease-token-that-nobody-may-find'))).toMatchObject({ status: 200 });
    expect(seen).toEqual(['alice-home']);
    const access = await sidekey.audited((line) => line.event === 'access');
    expect(access).toMatchObject({ agent: 'robot', lease: id, grant: grants.home.id, user: 'alice' });
    const outcome = await sidekey.audited((line) => line.event === 'outcome');
    expect(outcome).toMatchObject({ agent: 'robot', lease: id });
    expect(JSON.stringify(await sidekey.audit()) + sidekey.logged()).not.toContain('nobody-may-find');
  });

  test('is refused after its expiry inside an open tunnel and at CONNECT, and the audit log names the agent', async () => {
    const { upstream, tunnel, ask, lease, grants, sidekey, advance, seen } = await setup([alices]);
    const { id } = await lease('lease', [grants.home.id]);
    const client = await tunnel('robot:lease');
    advance(899_999);
    expect(await ask(client)).toMatchObject({ status: 200 });
    advance(1);
    const refused = await ask(client);
    expect(refused).toMatchObject({ status: 403, reason: 'lease_expired' });
    expect(problemOf(refused)).toMatchObject({
      code: 'lease_expired',
      hint: expect.stringContaining(`lease renew ${id}`),
    });
    const outside = await openClient(sidekey);
    outside.send(
      `CONNECT ${upstream.authority} HTTP/1.1\r\nHost: ${upstream.authority}\r\n${basic('robot:lease')}\r\n\r\n`,
    );
    expect(await outside.response()).toMatchObject({ status: 403, reason: 'lease_expired' });
    expect(seen).toHaveLength(1);
    const denied = await sidekey.audited((line) => line.event === 'denied');
    expect(denied).toMatchObject({ agent: 'robot', lease: id, code: 'lease_expired' });
  });

  test('and its grant expire separately, with different error codes', async () => {
    const { tunnel, ask, lease, grants, store, advance } = await setup([alices]);
    const { id } = await lease('lease', [grants.home.id]);
    await store.grantPolicies.set(grants.home.id, { expiresAt: start + 60_000 });
    const client = await tunnel('robot:lease');
    expect(await ask(client)).toMatchObject({ status: 200 });
    advance(60_000);
    const ended = await ask(client);
    expect(ended).toMatchObject({ status: 403, reason: 'grant_expired' });
    expect(problemOf(ended).hint).toContain('grant set home --user alice --ttl ');
    await store.grantPolicies.set(grants.home.id, { expiresAt: start + 2_000_000 });
    expect(await ask(client)).toMatchObject({ status: 200 });
    advance(840_000);
    expect(await ask(client)).toMatchObject({ status: 403, reason: 'lease_expired' });
    await store.leases.renew(id, { at: start, expiresAt: start + 5_000_000, moreUses: 0 });
    expect(await ask(client)).toMatchObject({ status: 200 });
  });

  test('with a request limit counts only requests with a credential, not tunnels or refusals', async () => {
    const { tunnel, ask, lease, grants, seen } = await setup([alices]);
    await lease('lease', [grants.home.id], { maxUses: 3 });
    const clients = await Promise.all(Array.from({ length: 5 }, () => tunnel('robot:lease')));
    expect(await ask(clients[0]!, 'Sidekey-Grant: none')).toMatchObject({
      status: 403,
      reason: 'grant_missing',
    });
    const answers = await Promise.all(clients.map((client) => ask(client)));
    expect(answers.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([200, 200, 200, 403, 403]);
    expect(answers.find(({ status }) => status === 403)?.reason).toBe('lease_expired');
    expect(seen).toHaveLength(3);
  });
});

/** Sends one request outside a tunnel, with its own token. */
async function askAs(client: RawClient, url: string, secret: string): Promise<string> {
  client.send(`GET ${url}/ HTTP/1.1\r\nHost: ${new URL(url).host}\r\n${basic(`robot:${secret}`)}\r\n\r\n`);
  const { status, reason } = await client.response();
  return status === 200 ? '200' : reason;
}

async function inParallel(sidekey: TestSidekey, jobs: readonly ((client: RawClient) => Promise<void>)[]) {
  const queue = [...jobs];
  await Promise.all(
    Array.from({ length: 8 }, async () => {
      const client = await openClient(sidekey);
      for (let job = queue.pop(); job !== undefined; job = queue.pop()) await job(client);
    }),
  );
}

test('2,000 consecutive leases are valid until their last millisecond, and refused in the next millisecond', async () => {
  const { upstream, sidekey, lease, grants, seen, advance } = await setup([alices]);
  const seconds = 20;
  const each = 100;
  const secrets = Array.from({ length: seconds * each }, (_, index) => `lease-${index}`);
  for (const [index, secret] of secrets.entries()) {
    await lease(secret, [grants.home.id], { expiresAt: start + (1 + Math.floor(index / each)) * 1_000 });
  }
  const wrong: string[] = [];
  const expecting = (some: readonly string[], expected: string) =>
    inParallel(
      sidekey,
      some.map((secret) => async (client) => {
        const answer = await askAs(client, upstream.url, secret);
        if (answer !== expected) wrong.push(`${secret}: ${answer}`);
      }),
    );
  for (let second = 0; second < seconds; second += 1) {
    const due = secrets.slice(second * each, (second + 1) * each);
    advance(999);
    await expecting(due, '200');
    advance(1);
    await expecting(due, 'lease_expired');
  }
  expect(wrong).toEqual([]);
  expect(seen).toHaveLength(secrets.length);
}, 60_000);
