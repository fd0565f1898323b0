/**
 * An agent or a lease with a list of hosts goes nowhere else without a credential, by no way into the proxy.
 */
import { expect, test } from 'vitest';
import { hashToken } from '../../src/agents/authentication.ts';
import { type Binding, everything } from '../../src/domain/lease.ts';
import { openClient, openTunnel, problemOf } from '../support/raw-client.ts';
import { addAgent, leaseRecord } from '../support/rights.ts';
import { startSidekey } from '../support/sidekey.ts';
import { startUpstream } from '../support/upstream.ts';

const basic = (userInfo: string) => `Proxy-Authorization: Basic ${Buffer.from(userInfo).toString('base64')}`;
const egress = (value: string): Binding => ({ kind: 'egress', value });

const start = () => startUpstream((_request, response) => response.end('ok'));

async function setup() {
  const [listed, other, ruled] = [await start(), await start(), await start()];
  const sidekey = await startSidekey({
    domains: {
      [listed.authority]: 'tunnel',
      [other.authority]: 'tunnel',
      [ruled.authority]: { grant: 'acme', default: 'tunnel' },
    },
  });
  const { store } = sidekey.proxy.state;
  await sidekey.grant([ruled.authority]);
  await addAgent(store, 'free', 'free', { bindings: [everything] });
  await addAgent(store, 'robot', 'own', { bindings: [everything, egress(listed.authority)] });
  const lease = async (agent: string, secret: string, hosts: readonly string[]) => {
    const now = Date.now();
    const times = { createdAt: now, expiresAt: now + 900_000 };
    const fields = { agent, tokenHash: hashToken(secret), grants: null, egress: hosts };
    await store.leases.insert(leaseRecord({ ...fields, ...times }));
  };
  const connect = async (userInfo: string, authority: string, method = 'CONNECT') => {
    const client = await openClient(sidekey);
    client.send(`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n${basic(userInfo)}\r\n\r\n`);
    return { client, response: await client.response(method) };
  };
  const statusOf = async (userInfo: string, authority: string) => {
    const { client, response } = await connect(userInfo, authority);
    client.socket.destroy();
    return response.status;
  };
  return { sidekey, store, listed, other, ruled, lease, connect, statusOf };
}

test('an agent with a host list is refused a tunnel to any other host, with the command that allows the host', async () => {
  const { other, listed, connect, statusOf } = await setup();
  expect(await statusOf('robot:own', listed.authority)).toBe(200);
  expect(await statusOf('free:free', other.authority)).toBe(200);
  // Read as an answer with a body, as a refusal is.
  const { response } = await connect('robot:own', other.authority, 'GET');
  expect([response.status, response.headers['sidekey-error']]).toEqual([403, 'domain_not_allowed']);
  expect(problemOf(response)).toMatchObject({
    detail: `The agent robot may not go to ${other.authority}.`,
    hint: `sidekey agent bind robot --egress ${other.authority}`,
  });
  expect(other.connections()).toBe(1);
});

test('a request that a rule sends without a credential needs a listed host', async () => {
  const { sidekey, ruled } = await setup();
  for (const [userInfo, status] of [
    ['robot:own', 403],
    ['free:free', 200],
  ] as const) {
    const client = await openTunnel(sidekey, ruled.authority, { fields: [basic(userInfo)] });
    client.send(`GET / HTTP/1.1\r\nHost: ${ruled.authority}\r\n\r\n`);
    expect((await client.response()).status).toBe(status);
  }
});

test('a lease needs a host that is on its own list and on the list of its agent', async () => {
  const { listed, other, lease, statusOf } = await setup();
  await lease('robot', 'both', [listed.authority, other.authority]);
  await lease('robot', 'none', [other.authority]);
  await lease('free', 'narrow', [other.authority]);
  expect(await statusOf('robot:both', listed.authority)).toBe(200);
  expect(await statusOf('robot:both', other.authority)).toBe(403);
  expect(await statusOf('robot:none', listed.authority)).toBe(403);
  expect(await statusOf('free:narrow', other.authority)).toBe(200);
  expect(await statusOf('free:narrow', listed.authority)).toBe(403);
});

test('an open tunnel to a host that is removed from the list is closed', async () => {
  const { store, listed, other, connect } = await setup();
  const { client } = await connect('robot:own', listed.authority);
  await store.bindings.add('robot', [egress(other.authority)], Date.now());
  await store.bindings.remove('robot', [egress(listed.authority)]);
  expect(await client.ended()).toBe('');
});

test('an invalid host pattern allows no host', async () => {
  const { store, listed, statusOf } = await setup();
  await addAgent(store, 'odd', 'odd', { bindings: [egress('https://x/')] });
  expect(await statusOf('odd:odd', listed.authority)).toBe(403);
});
