/**
 * WebSockets under rules that want a person, and under rules about labels: what they may outlive, and what
 * not.
 */
import { expect, onTestFinished, test } from 'vitest';
import { WebSocketServer } from 'ws';
import type { Reach } from '../../../src/domain/approval.ts';
import { openTunnel, type RawClient } from '../../support/raw-client.ts';
import { addAgent } from '../../support/rights.ts';
import { startSidekey } from '../../support/sidekey.ts';
import { startUpstream } from '../../support/upstream.ts';

const hour = 3_600_000;
const isOpen = ({ socket }: RawClient) => !socket.destroyed && !socket.readableEnded;

async function opened(client: RawClient): Promise<RawClient> {
  expect(await client.response()).toMatchObject({ status: 101 });
  return client;
}

async function setup(domain: object) {
  const upstream = await startUpstream((_request, response) => response.end('ok'));
  const server = new WebSocketServer({ server: upstream.server });
  onTestFinished(() => server.close());
  let time = Date.now();
  const of = (rules: object) => ({ domains: { [upstream.authority]: { grant: 'acme', ...rules } } });
  const sidekey = await startSidekey({ ...of(domain), now: () => time });
  const grant = await sidekey.grant([upstream.authority]);
  const { store } = sidekey.proxy.state;
  const begin = async (path: string, fields: readonly string[] = []) => {
    const client = await openTunnel(sidekey, upstream.authority, { fields });
    client.send(
      `GET ${path} HTTP/1.1\r\nHost: ${upstream.authority}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n`,
      'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n',
    );
    return client;
  };
  /** Returns the question of a request that waits. */
  const asked = async (path: string) => {
    await sidekey.audited((line) => line.event === 'approval.asked' && line.path === path);
    let [question] = await store.approvals.waiting(time);
    while (question === undefined) [question] = await store.approvals.waiting(time);
    return question;
  };
  /** A WebSocket that a person lets in. */
  const agreed = async (path: string, reach: Reach) => {
    const client = await begin(path);
    const question = await asked(path);
    await store.approvals.answer(question.id, { at: time, by: 'alice', outcome: 'allowed', reach });
    return { client: await opened(client), id: question.id };
  };
  const endOf = async (path: string) => {
    const { outcome, code } = await sidekey.audited((line) => line.event === 'outcome' && line.path === path);
    return { outcome, code };
  };
  const open = async (path: string, fields?: readonly string[]) => opened(await begin(path, fields));
  const advance = (ms: number) => (time += ms);
  return { sidekey, store, grant, upstream, begin, asked, agreed, open, endOf, of, advance };
}

const missing = { outcome: 'aborted', code: 'approval_missing' };

test('a WebSocket with a one-time approval outlives the expiry of a standing approval', async () => {
  const { agreed, endOf, advance } = await setup({
    rules: [
      { name: 'one', paths: ['/once'], outcome: 'approve' },
      { name: 'two', paths: ['/hour'], outcome: 'approve' },
    ],
  });
  const once = await agreed('/once', { kind: 'once' });
  const timed = await agreed('/hour', { kind: 'until', at: Date.now() + hour });
  advance(2 * hour);
  await timed.client.ended();
  expect(await endOf('/hour')).toEqual(missing);
  expect(isOpen(once.client)).toBe(true);
});

test('a WebSocket with a standing approval is cut when the approval is revoked, even if the approval was given for another request', async () => {
  const { store, agreed, open, endOf } = await setup({ default: 'approve' });
  const first = await agreed('/first', { kind: 'until', at: Date.now() + hour });
  const second = await open('/second');
  expect([isOpen(first.client), isOpen(second)]).toEqual([true, true]);
  await store.approvals.revoke(first.id);
  await Promise.all([first.client.ended(), second.ended()]);
  expect([await endOf('/first'), await endOf('/second')]).toEqual([missing, missing]);
});

test('a WebSocket needs an approval that names it, not one of other requests', async () => {
  const { sidekey, store, upstream, begin, asked, open } = await setup({ default: 'approve' });
  const client = await openTunnel(sidekey, upstream.authority);
  client.send(`GET /plain HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
  const plain = await asked('/plain');
  expect(plain.fields).toEqual([]);
  const reach = { kind: 'until', at: Date.now() + hour } as const;
  const yes = { at: Date.now(), by: 'alice', outcome: 'allowed', reach } as const;
  await store.approvals.answer(plain.id, yes);
  expect(await client.response()).toMatchObject({ status: 200 });
  const live = await begin('/live');
  const question = await asked('/live');
  expect(question.fields).toEqual(['Upgrade: websocket']);
  await store.approvals.answer(question.id, yes);
  await opened(live);
  await open('/again');
});

test('a WebSocket without approval is cut when the rule starts to require an approval', async () => {
  const { sidekey, open, endOf, of } = await setup({ default: 'allow' });
  const client = await open('/chat');
  await sidekey.configure(of({ default: 'approve' }));
  await client.ended();
  expect(await endOf('/chat')).toEqual(missing);
});

test('a WebSocket under a rule with label conditions is cut when the agent or the grant loses the label', async () => {
  const { store, grant, open, endOf } = await setup({
    rules: [
      { paths: ['/agent'], labels: ['trusted'], outcome: 'allow' },
      { paths: ['/grant'], labels: ['prod'], outcome: 'allow' },
    ],
  });
  await addAgent(store, 'claude', 'token', { labels: ['trusted'] });
  await store.grantPolicies.set(grant.id, { labels: ['prod'] });
  const fields = [`Proxy-Authorization: Basic ${Buffer.from('claude:token').toString('base64')}`];
  const [byAgent, byGrant] = [await open('/agent', fields), await open('/grant', fields)];
  await store.agents.change('claude', { labels: [] });
  await byAgent.ended();
  expect(isOpen(byGrant)).toBe(true);
  await store.grantPolicies.set(grant.id, { labels: [] });
  await byGrant.ended();
  expect([await endOf('/agent'), await endOf('/grant')]).toMatchObject([
    { code: 'rule_denied' },
    { code: 'rule_denied' },
  ]);
});
