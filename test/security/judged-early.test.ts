/**
 * A request that a rule reads the body of is judged when the body is there, by what holds then: its sender
 * decides how long that takes, and a body trickled for hours must not outlive the rule that let its head in.
 */
import { expect, test } from 'vitest';
import { openTunnel } from '../support/raw-client.ts';
import { startSidekey, type SidekeyOptions } from '../support/sidekey.ts';
import { startUpstream } from '../support/upstream.ts';

const query = '{"query":"{a}"}';
const clock = (at: number) => new Date(at).toISOString().slice(11, 16);
const reads = { paths: ['/graphql'], graphql: { types: ['query'] } };

/** A request whose head was judged, and whose body is yet to come. */
async function halfSent(domain: object, options: SidekeyOptions = {}) {
  const seen: string[] = [];
  const upstream = await startUpstream((request, response) => {
    seen.push(request.url ?? '');
    request.resume().on('end', () => response.end('ok'));
  });
  const domains = { [upstream.authority]: { grant: 'acme', ...domain } };
  const sidekey = await startSidekey({ ...options, domains });
  const grant = await sidekey.grant([upstream.authority]);
  const client = await openTunnel(sidekey, upstream.authority);
  const fields = `Content-Type: application/json\r\nContent-Length: ${query.length}\r\nExpect: 100-continue`;
  client.send(`POST /graphql HTTP/1.1\r\nHost: ${upstream.authority}\r\n${fields}\r\n\r\n`);
  expect((await client.response()).status).toBe(100);
  client.send(query.slice(0, 3));
  const finish = async () => {
    client.send(query.slice(3));
    const { status, headers } = await client.response();
    return [status, headers['sidekey-error']];
  };
  return { sidekey, upstream, grant, seen, finish };
}

test('a body that arrives after the time window closed is refused', async () => {
  let now = Date.now();
  const times = [{ from: clock(now - 120_000), to: clock(now + 120_000), zone: 'UTC' }];
  const { seen, finish } = await halfSent({ rules: [{ ...reads, times }] }, { now: () => now });
  now += 6 * 3_600_000;
  expect(await finish()).toEqual([403, 'rule_denied']);
  expect(seen).toEqual([]);
});

test('a body that arrives after the rules became stricter is refused', async () => {
  const { seen, finish, sidekey, upstream } = await halfSent({ rules: [reads] });
  await sidekey.configure({
    domains: { [upstream.authority]: { grant: 'acme', rules: [{ methods: ['GET'] }] } },
  });
  expect(await finish()).toEqual([403, 'rule_denied']);
  expect(seen).toEqual([]);
});

test('a body that arrives after the domain was denied is refused', async () => {
  const { seen, finish, sidekey, upstream } = await halfSent({ rules: [reads] });
  await sidekey.configure({ domains: { [upstream.authority]: 'deny' } });
  expect(await finish()).toEqual([403, 'domain_not_allowed']);
  expect(seen).toEqual([]);
});

test('a body that arrives after its grant got a denied label is refused', async () => {
  const rules = [{ labels: ['frozen'], outcome: 'deny' }, reads];
  const { seen, finish, sidekey, grant } = await halfSent({ rules });
  await sidekey.proxy.state.store.grantPolicies.set(grant.id, { labels: ['frozen'] });
  expect(await finish()).toEqual([403, 'rule_denied']);
  expect(seen).toEqual([]);
});

test('a body is refused if its caller needs a token by then', async () => {
  const { seen, finish, sidekey, upstream } = await halfSent({ rules: [reads] });
  await sidekey.configure({
    domains: { [upstream.authority]: { grant: 'acme', rules: [reads] } },
    proxy: { listen: '127.0.0.1:0', authentication: 'required' },
  });
  expect(await finish()).toEqual([407, 'agent_auth_required']);
  expect(seen).toEqual([]);
});

test('a body is forwarded if nothing has changed', async () => {
  const { seen, finish } = await halfSent({ rules: [reads] });
  expect(await finish()).toEqual([200, undefined]);
  expect(seen).toEqual(['/graphql']);
});
