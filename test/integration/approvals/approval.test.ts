/** Rules that want a person: what the client, the person, the audit and upstream each see. */
import { describe, expect, test } from 'vitest';
import type { Answer, Approval, Reach } from '../../../src/domain/approval.ts';
import { openSqliteStore } from '../../../src/store/sqlite.ts';
import { addAgent } from '../../support/rights.ts';
import { openClient, openTunnel, type RawClient } from '../../support/raw-client.ts';
import { bearerToken, startSidekey, type SidekeyOptions, type TestSidekey } from '../../support/sidekey.ts';
import { startPlainUpstream, startUpstream, upstreamHost } from '../../support/upstream.ts';

const asks = { default: 'allow', rules: [{ name: 'deletes', methods: ['DELETE'], outcome: 'approve' }] };

async function asking(domain: object = asks, options: SidekeyOptions = {}) {
  const seen: string[] = [];
  const upstream = await startUpstream((request, response) => {
    let body = '';
    request.on('data', (chunk: Buffer) => (body += chunk.toString()));
    request.on('end', () => {
      seen.push(`${request.method} ${request.url} ${request.headers.authorization ?? 'none'} ${body}`.trim());
      response.end('done');
    });
  });
  const domains = { [upstream.authority]: { grant: 'acme', ...domain } };
  const sidekey = await startSidekey({ ...options, domains });
  const grant = await sidekey.grant([upstream.authority]);
  const { store } = sidekey.proxy.state;
  const send = async (request: string, fields: readonly string[] = [], body = '') => {
    const client = await openTunnel(sidekey, upstream.authority, { fields });
    client.send(
      `${request} HTTP/1.1\r\nHost: ${upstream.authority}\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    );
    return client;
  };
  /** The question of a request that is on record as waiting. */
  const asked = async (count = 1): Promise<Approval> => {
    const events = async () => (await sidekey.audit()).filter(({ event }) => event === 'approval.asked');
    await sidekey.audited(() => true);
    for (;;) {
      const event = (await events())[count - 1];
      const approval = event?.approval === undefined ? null : await store.approvals.get(event.approval);
      if (approval !== null) return approval;
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  /** Answers as another process does, such as the command line. */
  const answer = async (id: string, said: Pick<Answer, 'outcome'> & { reach?: Reach }) => {
    const other = await openSqliteStore(store.location, { now: Date.now });
    const { outcome, reach = { kind: 'once' } } = said;
    const given = { at: Date.now(), by: 'alice in a terminal' };
    const answered = await other.approvals.answer(
      id,
      outcome === 'denied' ? { ...given, outcome } : { ...given, outcome, reach },
    );
    await other.close();
    return answered;
  };
  return { sidekey, upstream, grant, store, seen, send, asked, answer, domains };
}

const status = async (client: RawClient) => (await client.response()).status;

const left = async (sidekey: TestSidekey, id: string) =>
  expect(await sidekey.audited(({ event }) => event === 'denied')).toMatchObject({
    code: 'approval_missing',
    approval: id,
  });

describe('a request that needs approval', () => {
  test('is forwarded with its body after another process approves it', async () => {
    const { send, asked, answer, seen, grant, sidekey, upstream } = await asking();
    const client = await send('DELETE /tickets/7?why=secret', [], 'the body');
    const question = await asked();
    expect(question).toMatchObject({
      method: 'DELETE',
      authority: upstream.authority,
      path: '/tickets/7',
      query: 'why=secret',
      grantName: 'acme',
      ruleName: 'deletes',
      who: { agent: null, lease: null, grantId: grant.id },
    });
    expect(question.rule).toMatch(/sidekey\.yaml:\d+/);
    expect(seen).toEqual([]);
    await answer(question.id, { outcome: 'allowed' });
    expect(await status(client)).toBe(200);
    expect(seen).toEqual([`DELETE /tickets/7?why=secret Bearer ${bearerToken} the body`]);
    const access = await sidekey.audited(({ event }) => event === 'access');
    expect(access).toMatchObject({ approval: question.id, exchange: question.exchange });
    expect(JSON.stringify(question)).not.toContain(bearerToken);
  });

  test('is described in the words of its provider', async () => {
    const words = { method: 'DELETE', path: '/tickets/*', words: 'delete a ticket' };
    const { send, asked, answer, upstream } = await asking(asks, {
      config: { providers: { acme: { audience: [upstreamHost], operations: [words] } } },
    });
    const client = await send('DELETE /tickets/7');
    const { id, operation, authority } = await asked();
    expect([operation, authority]).toEqual(['delete a ticket', upstream.authority]);
    await answer(id, { outcome: 'denied' });
    await client.response();
  });

  test('shows its query without the credential', async () => {
    const { send, asked, answer, sidekey } = await asking(asks, {
      config: { providers: { acme: { audience: [upstreamHost], inject: { query: 'api_key' } } } },
    });
    const client = await send('DELETE /tickets/7?page=2&API%5Fkey=of-the-agent&why=late');
    const question = await asked();
    expect(question.query).toBe('page=2&API%5Fkey=…&why=late');
    await answer(question.id, { outcome: 'denied' });
    expect((await client.response()).status).toBe(403);
    expect(JSON.stringify(await sidekey.audit())).not.toContain('late');
  });

  test('is refused with the reason that the person gave for a denial', async () => {
    const { send, asked, answer, seen, sidekey } = await asking();
    const client = await send('DELETE /tickets/7');
    const { id } = await asked();
    await answer(id, { outcome: 'denied' });
    const refused = await client.response();
    expect([refused.status, refused.headers['sidekey-error']]).toEqual([403, 'approval_denied']);
    expect(refused.body).toContain('A person denied this request.');
    expect(seen).toEqual([]);
    expect(await sidekey.audited(({ event }) => event === 'denied')).toMatchObject({
      code: 'approval_denied',
      approval: id,
    });
  });

  test('is refused after the time-out, and can no longer be approved', async () => {
    const { send, asked, answer, seen } = await asking(asks, {
      config: { approvals: { timeout: '1s' } },
    });
    const client = await send('DELETE /tickets/7');
    const { id } = await asked();
    const refused = await client.response();
    expect([refused.status, refused.headers['sidekey-error']]).toEqual([403, 'approval_missing']);
    expect(refused.body).toContain('sidekey approve');
    expect(await answer(id, { outcome: 'allowed' })).toBeNull();
    expect(seen).toEqual([]);
  });

  test('is withdrawn if its client disconnects', async () => {
    const { send, asked, answer, seen, sidekey } = await asking();
    const client = await send('DELETE /tickets/7');
    const { id } = await asked();
    client.socket.destroy();
    expect(await sidekey.audited(({ event }) => event === 'denied')).toMatchObject({
      code: 'approval_missing',
      approval: id,
    });
    expect(await answer(id, { outcome: 'allowed' })).toBeNull();
    expect(seen).toEqual([]);
  });

  test('is withdrawn if its client disconnects after an unread body', async () => {
    const { send, asked, answer, seen, sidekey } = await asking();
    const client = await send('DELETE /tickets/7', [], 'x'.repeat(300_000));
    const { id } = await asked();
    client.socket.destroy();
    await left(sidekey, id);
    expect(await answer(id, { outcome: 'allowed' })).toBeNull();
    expect(seen).toEqual([]);
  });

  test('is refused without an approval if its body is too large to hold', async () => {
    const { send, sidekey, seen } = await asking(asks, {
      config: { limits: { approval_body_bytes: '1KiB' } },
    });
    const client = await send('DELETE /tickets/7', [], 'x'.repeat(1_025));
    expect((await client.response()).headers['sidekey-error']).toBe('body_too_large');
    expect((await sidekey.audit()).some(({ event }) => event === 'approval.asked')).toBe(false);
    expect(seen).toEqual([]);
  });

  test('is cancelled when the client of a WebSocket disconnects', async () => {
    const { asked, answer, seen, sidekey, upstream } = await asking({
      default: 'deny',
      rules: [{ methods: ['GET'], outcome: 'approve' }],
    });
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(
      `GET /live HTTP/1.1\r\nHost: ${upstream.authority}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n`,
      'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n',
    );
    const { id } = await asked();
    client.socket.end();
    await left(sidekey, id);
    expect(await answer(id, { outcome: 'allowed' })).toBeNull();
    expect(seen).toEqual([]);
  });

  test('is withdrawn if its client disconnects over plain HTTP', async () => {
    const upstream = await startPlainUpstream((_request, response) => response.end('done'));
    const sidekey = await startSidekey({
      domains: { [upstream.authority]: { grant: 'acme', allow_plain_http: true, ...asks } },
    });
    await sidekey.grant([upstream.authority]);
    const client = await openClient(sidekey);
    client.send(`DELETE ${upstream.url}/7 HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    const { approval = '' } = await sidekey.audited(({ event }) => event === 'approval.asked');
    client.socket.end();
    await left(sidekey, approval);
  });

  test('is refused after approval if a token is now required', async () => {
    const { send, asked, answer, seen, sidekey, domains } = await asking();
    const client = await send('DELETE /tickets/7');
    const { id } = await asked();
    await sidekey.configure({ domains, proxy: { listen: '127.0.0.1:0', authentication: 'required' } });
    await answer(id, { outcome: 'allowed' });
    expect((await client.response()).headers['sidekey-error']).toBe('agent_auth_required');
    expect(seen).toEqual([]);
  });

  test('is refused after approval if its agent lost the label of the rule', async () => {
    const rules = [{ labels: ['trusted'], outcome: 'approve' }];
    const { send, asked, answer, seen, store } = await asking({ rules });
    await addAgent(store, 'claude', 'its-token', { labels: ['trusted'] });
    const basic = Buffer.from('claude:its-token').toString('base64');
    const client = await send('DELETE /tickets/7', [`Proxy-Authorization: Basic ${basic}`]);
    const { id } = await asked();
    await store.agents.change('claude', { labels: [] });
    await answer(id, { outcome: 'allowed' });
    expect((await client.response()).headers['sidekey-error']).toBe('rule_denied');
    expect(seen).toEqual([]);
  });

  test('is refused when the proxy stops, without delaying the stop', async () => {
    const { send, asked, seen, sidekey } = await asking(asks, { config: { limits: { drain: '1h' } } });
    const client = await send('DELETE /tickets/7');
    await asked();
    const closed = sidekey.proxy.close();
    expect((await client.response()).headers['sidekey-error']).toBe('approval_missing');
    await closed;
    expect(seen).toEqual([]);
    expect((await sidekey.audit()).find(({ event }) => event === 'denied')).toMatchObject({
      code: 'approval_missing',
    });
  });

  test('is refused after approval if the rules have changed', async () => {
    const { send, asked, answer, seen, sidekey, domains, upstream } = await asking();
    const client = await send('DELETE /tickets/7');
    const { id } = await asked();
    const rules = [{ methods: ['DELETE'], outcome: 'deny' }];
    await sidekey.configure({
      domains: { [upstream.authority]: { ...domains[upstream.authority], rules } },
    });
    await answer(id, { outcome: 'allowed' });
    expect((await client.response()).headers['sidekey-error']).toBe('rule_denied');
    expect(seen).toEqual([]);
  });

  test('counts its bytes against the original budget even if the rule no longer has the budget', async () => {
    const posts = { name: 'posts', methods: ['POST'], outcome: 'approve' };
    const rules = [{ ...posts, limits: [{ bytes_per_day: 1_000 }] }];
    const { send, asked, answer, sidekey, domains, upstream } = await asking({ default: 'allow', rules });
    const client = await send('POST /tickets', [], 'x'.repeat(2_000));
    const { id } = await asked();
    await sidekey.configure({
      domains: { [upstream.authority]: { ...domains[upstream.authority], rules: [posts] } },
    });
    await answer(id, { outcome: 'allowed' });
    await client.response();
    await sidekey.audited(({ event }) => event === 'outcome');
    await sidekey.configure({ domains, approvals: { timeout: '1s' } });
    const next = await send('POST /tickets');
    expect((await next.response()).headers['sidekey-error']).toBe('rate_limited');
  });

  test('is refused after approval if its grant was revoked', async () => {
    const { send, asked, answer, seen, sidekey, grant } = await asking();
    const client = await send('DELETE /tickets/7');
    const { id } = await asked();
    await sidekey.proxy.state.grants.setState(grant, 'revoked', 'a test');
    await answer(id, { outcome: 'allowed' });
    expect((await client.response()).headers['sidekey-error']).toBe('grant_revoked');
    expect(seen).toEqual([]);
  });

  test('is refused after approval if its agent was disabled', async () => {
    const { send, asked, answer, seen, store } = await asking();
    await addAgent(store, 'claude', 'its-token');
    const basic = Buffer.from('claude:its-token').toString('base64');
    const client = await send('DELETE /tickets/7', [`Proxy-Authorization: Basic ${basic}`]);
    const { id, who } = await asked();
    expect(who.agent).toBe('claude');
    await store.agents.change('claude', { disabledAt: Date.now() });
    await answer(id, { outcome: 'allowed' });
    expect((await client.response()).headers['sidekey-error']).toBe('agent_auth_required');
    expect(seen).toEqual([]);
  });

  test('is refused without an approval if its grant is missing', async () => {
    const { send, sidekey, grant } = await asking();
    await sidekey.proxy.state.grants.remove(grant.id);
    const client = await send('DELETE /tickets/7');
    expect((await client.response()).headers['sidekey-error']).toBe('grant_missing');
    expect((await sidekey.audit()).some(({ event }) => event === 'approval.asked')).toBe(false);
  });

  test('is refused without an approval if its grant has expired', async () => {
    const { send, sidekey, store, grant } = await asking();
    await store.grantPolicies.set(grant.id, { expiresAt: Date.now() - 1 });
    const client = await send('DELETE /tickets/7');
    expect((await client.response()).headers['sidekey-error']).toBe('grant_expired');
    expect((await sidekey.audit()).some(({ event }) => event === 'approval.asked')).toBe(false);
  });

  test('is refused if its agent has too many held requests', async () => {
    const { send, asked, answer } = await asking(asks, { config: { approvals: { max_pending: 1 } } });
    const first = await send('DELETE /1');
    const { id } = await asked();
    const second = await send('DELETE /2');
    expect((await second.response()).headers['sidekey-error']).toBe('overloaded');
    await answer(id, { outcome: 'allowed' });
    expect(await status(first)).toBe(200);
    const third = await send('DELETE /3');
    await answer((await asked(2)).id, { outcome: 'allowed' });
    expect(await status(third)).toBe(200);
  });
});

const hour = () => ({ kind: 'until', at: Date.now() + 3_600_000 }) as const;

describe('a standing approval', () => {
  test('applies to requests that the rule matches', async () => {
    const { send, asked, answer, seen, sidekey } = await asking();
    const first = await send('DELETE /1');
    const { id } = await asked();
    await answer(id, { outcome: 'allowed', reach: hour() });
    expect(await status(first)).toBe(200);
    expect(await status(await send('DELETE /2'))).toBe(200);
    expect(seen).toHaveLength(2);
    const accesses = (await sidekey.audit()).filter(({ event }) => event === 'access');
    expect(accesses.map(({ approval }) => approval)).toEqual([id, id]);
  });

  test('ends when it is revoked, and does not apply to another agent', async () => {
    const { send, asked, answer, store } = await asking();
    const first = await send('DELETE /1');
    const { id } = await asked();
    await answer(id, { outcome: 'allowed', reach: hour() });
    expect(await status(first)).toBe(200);
    await addAgent(store, 'claude', 'its-token');
    const basic = Buffer.from('claude:its-token').toString('base64');
    await send('DELETE /2', [`Proxy-Authorization: Basic ${basic}`]);
    expect((await asked(2)).who.agent).toBe('claude');
    await store.approvals.revoke(id);
    await send('DELETE /3');
    expect((await asked(3)).path).toBe('/3');
  });

  test('does not apply to a changed rule', async () => {
    const { send, asked, answer, sidekey, upstream, domains } = await asking();
    const first = await send('DELETE /1');
    const { id } = await asked();
    await answer(id, { outcome: 'allowed', reach: hour() });
    expect(await status(first)).toBe(200);
    const rules = [{ name: 'deletes', methods: ['DELETE', 'PUT'], outcome: 'approve' }];
    await sidekey.configure({
      domains: { [upstream.authority]: { ...domains[upstream.authority], rules } },
    });
    await send('DELETE /2');
    expect((await asked(2)).path).toBe('/2');
  });
});
