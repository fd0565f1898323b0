import type { ServerResponse } from 'node:http';
import { describe, expect, onTestFinished, test } from 'vitest';
import { WebSocketServer } from 'ws';
import { everything } from '../../../src/domain/lease.ts';
import { hashToken } from '../../../src/agents/authentication.ts';
import { openClient, openTunnel, type RawClient } from '../../support/raw-client.ts';
import { addAgent, leaseRecord } from '../../support/rights.ts';
import { startSidekey, type TestSidekey } from '../../support/sidekey.ts';
import { startUpstream } from '../../support/upstream.ts';

const basic = (userInfo: string) => `Proxy-Authorization: Basic ${Buffer.from(userInfo).toString('base64')}`;
/** Hours and minutes, UTC. */
/** A time of day as a rule has it: the end of the day is 24:00. */
const clock = (ms: number) => new Date(ms).toISOString().slice(11, 16);
const clockEnd = (ms: number) => clock(ms).replace('00:00', '24:00');
const ok = (_request: unknown, response: ServerResponse) => response.end('ok');

/**
 * An upstream with WebSockets at every path and an endless response at `/stream`, and a proxy with a grant
 * for it.
 */
async function setup(config: Readonly<Record<string, object>> = {}) {
  const upstream = await startUpstream((request, response) => {
    if (request.url === '/stream') response.write('first');
    else response.end('ok');
  });
  const server = new WebSocketServer({ server: upstream.server });
  onTestFinished(() => server.close());
  const blind = await startUpstream(ok);
  const domains = { [upstream.authority]: { grant: 'acme' }, [blind.authority]: 'tunnel' };
  let time = Date.now();
  const sidekey = await startSidekey({ domains, config, now: () => time });
  const inside = (userInfo: string | null) =>
    openTunnel(sidekey, upstream.authority, { fields: userInfo === null ? [] : [basic(userInfo)] });
  /** A WebSocket that is open. */
  const socket = async (userInfo: string | null, path = '/chat') => {
    const client = await inside(userInfo);
    client.send(
      `GET ${path} HTTP/1.1\r\nHost: ${upstream.authority}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n`,
      'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n',
    );
    expect(await client.response()).toMatchObject({ status: 101 });
    return client;
  };
  const tunnel = async (userInfo: string) => {
    const client = await openClient(sidekey);
    const { authority } = blind;
    client.send(`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n${basic(userInfo)}\r\n\r\n`);
    expect(await client.response('CONNECT')).toMatchObject({ status: 200 });
    return client;
  };
  const stream = async (userInfo: string) => {
    const client = await inside(userInfo);
    client.send(`GET /stream HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    await client.until('first');
    return client;
  };
  return {
    upstream,
    blind,
    sidekey,
    domains,
    store: sidekey.proxy.state.store,
    socket,
    tunnel,
    stream,
    advance: (ms: number) => (time += ms),
    now: () => time,
  };
}

/** Returns the audit event for the end of a connection of an agent. */
async function endOf(sidekey: TestSidekey, agent: string, path?: string) {
  const { event, outcome, code } = await sidekey.audited(
    (line) =>
      line.event === (path === 'blind' ? 'tunnel' : 'outcome') &&
      line.agent === agent &&
      (path === undefined || path === 'blind' || line.path === path),
  );
  return { event, outcome, code };
}

const isOpen = ({ socket }: RawClient) => !socket.destroyed && !socket.readableEnded;

describe('an open exchange of an agent', () => {
  test('is cut when its permission is revoked, while other exchanges continue', async () => {
    const { upstream, sidekey, store, socket, tunnel, stream, now } = await setup();
    const grant = (name: string) => sidekey.grant([upstream.authority], { name });
    const [work, revoked, removed, ended] = [
      await grant('work'),
      await grant('revoked'),
      await grant('removed'),
      await grant('ended'),
    ];
    const { grants } = sidekey.proxy.state;
    const cases: Readonly<Record<string, readonly [string, () => Promise<unknown>, string]>> = {
      disabled: ['work', () => store.agents.change('disabled', { disabledAt: now() }), 'agent_auth_required'],
      gone: ['work', () => store.agents.remove('gone'), 'agent_auth_required'],
      rotated: ['work', () => store.agentTokens.revoke('rotated', null, now()), 'agent_auth_required'],
      unbound: ['work', () => store.bindings.remove('unbound', [everything]), 'grant_missing'],
      revoked: ['revoked', () => grants.setState(revoked, 'revoked', null), 'grant_revoked'],
      removed: ['removed', () => grants.remove(removed.id), 'grant_missing'],
      ended: ['ended', () => store.grantPolicies.set(ended.id, { expiresAt: now() }), 'grant_expired'],
    };
    const sockets: RawClient[] = [];
    for (const [agent, [name]] of Object.entries(cases)) {
      await addAgent(store, agent, `token-of-${agent}`);
      sockets.push(await socket(`${agent}+grant=${name}:token-of-${agent}`));
    }
    await addAgent(store, 'robot', 'own');
    await store.leases.insert(
      leaseRecord({
        agent: 'robot',
        tokenHash: hashToken('lease'),
        grants: [work.id],
        createdAt: now(),
        expiresAt: now() + 900_000,
      }),
    );
    const kept = [
      await socket('robot+grant=work:own'),
      await tunnel('robot:own'),
      await stream('robot+grant=work:own'),
    ];
    const leased = [
      await socket('robot:lease', '/leased'),
      await stream('robot:lease'),
      await tunnel('robot:lease'),
    ];
    for (const [, change] of Object.values(cases)) await change();
    await store.leases.revoke({ agent: 'robot' }, now());
    await Promise.all([...sockets, ...leased].map((client) => client.ended()));
    for (const [agent, [, , code]] of Object.entries(cases)) {
      expect([agent, await endOf(sidekey, agent)]).toEqual([
        agent,
        { event: 'outcome', outcome: 'aborted', code },
      ]);
    }
    const cut = { outcome: 'aborted', code: 'lease_expired' };
    expect(await endOf(sidekey, 'robot', '/leased')).toEqual({ event: 'outcome', ...cut });
    expect(await endOf(sidekey, 'robot', '/stream')).toEqual({ event: 'outcome', ...cut });
    expect(await endOf(sidekey, 'robot', 'blind')).toEqual({ event: 'tunnel', ...cut });
    expect(kept.map(isOpen)).toEqual([true, true, true]);
  });

  test('is cut when the lease expires', async () => {
    const { upstream, sidekey, store, socket, advance, now } = await setup();
    const { id } = await sidekey.grant([upstream.authority]);
    await addAgent(store, 'robot', 'own');
    const lease = { agent: 'robot', grants: [id], createdAt: now(), expiresAt: now() + 900_000 };
    await store.leases.insert(leaseRecord({ ...lease, tokenHash: hashToken('lease') }));
    const [leased, own] = [await socket('robot:lease'), await socket('robot:own')];
    advance(900_000);
    await leased.ended();
    expect(await endOf(sidekey, 'robot')).toMatchObject({ outcome: 'aborted', code: 'lease_expired' });
    expect(isOpen(own)).toBe(true);
  });
});

describe('a WebSocket', () => {
  test('is cut when the current rules would refuse its handshake, while other connections continue', async () => {
    const { upstream, sidekey, socket } = await setup();
    await sidekey.grant([upstream.authority]);
    const [chat, admin] = [await socket(null, '/chat'), await socket(null, '/admin')];
    await sidekey.configure({
      domains: {
        [upstream.authority]: {
          grant: 'acme',
          rules: [{ paths: ['/admin'], outcome: 'deny' }],
          default: 'allow',
        },
      },
    });
    await admin.ended();
    expect(await sidekey.audited((line) => line.event === 'outcome' && line.path === '/admin')).toMatchObject(
      { outcome: 'aborted', code: 'rule_denied', status: 101 },
    );
    expect(isOpen(chat)).toBe(true);
  });

  test('is cut at the end of the time of day that a rule allows', async () => {
    const { upstream, sidekey, socket, advance, now } = await setup();
    await sidekey.grant([upstream.authority]);
    await sidekey.configure({
      domains: {
        [upstream.authority]: {
          grant: 'acme',
          rules: [
            {
              times: [{ from: clock(now()), to: clockEnd(now() + 3_600_000), zone: 'UTC' }],
              outcome: 'allow',
            },
          ],
          default: 'deny',
        },
      },
    });
    expect(sidekey.logged()).not.toContain('the config stays');
    const client = await socket(null);
    advance(3_700_000);
    await client.ended();
    expect(await sidekey.audited((line) => line.event === 'outcome')).toMatchObject({
      outcome: 'aborted',
      code: 'rule_denied',
    });
  });
});
