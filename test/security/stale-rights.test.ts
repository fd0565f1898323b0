import { describe, expect, test } from 'vitest';
import { everything } from '../../src/domain/lease.ts';
import { hashToken } from '../../src/agents/authentication.ts';
import { openSqliteStore } from '../../src/store/sqlite.ts';
import type { Store } from '../../src/store/store.ts';
import { granted, grantedTo } from '../support/granted.ts';
import { openClient, openTunnel } from '../support/raw-client.ts';
import { addAgent, leaseRecord, tokenRecord } from '../support/rights.ts';
import { startSidekey } from '../support/sidekey.ts';
import { startUpstream } from '../support/upstream.ts';
import { allGrants } from '../support/all-grants.ts';

describe('a revoked right', () => {
  test('ends inside an open tunnel: another process removed the agent', async () => {
    const { upstream, sidekey } = await granted((_request, response) => response.end('ok'), {
      config: { proxy: { listen: '127.0.0.1:0', authentication: 'required' } },
    });
    await addAgent(sidekey.proxy.state.store, 'robot', 'secret');
    const field = `Proxy-Authorization: Basic ${Buffer.from('robot:secret').toString('base64')}`;
    const client = await openTunnel(sidekey, upstream.authority, { fields: [field] });
    const ask = async () => {
      client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
      return client.response();
    };
    expect(await ask()).toMatchObject({ status: 200 });
    const elsewhere = await openSqliteStore(sidekey.proxy.state.store.location, { now: Date.now });
    await elsewhere.agents.remove('robot');
    await elsewhere.close();
    expect(await ask()).toMatchObject({ status: 407, reason: 'agent_auth_required' });
    expect(upstream.connections()).toBe(1);
  });

  test.each([
    [
      'the lease was revoked',
      'lease',
      403,
      'lease_expired',
      (store: Store) => store.leases.revoke({ agent: 'robot' }, 1),
    ],
    [
      'its agent was disabled',
      'lease',
      407,
      'agent_auth_required',
      (store: Store) => store.agents.change('robot', { disabledAt: 1 }),
    ],
    [
      'its agent was removed',
      'lease',
      407,
      'agent_auth_required',
      (store: Store) => store.agents.remove('robot'),
    ],
    [
      'the binding was taken',
      'lease',
      403,
      'grant_missing',
      (store: Store) => store.bindings.remove('robot', [everything]),
    ],
    [
      'the agent was disabled',
      'own',
      407,
      'agent_auth_required',
      (store: Store) => store.agents.change('robot', { disabledAt: 1 }),
    ],
    [
      'the token was revoked',
      'own',
      407,
      'agent_auth_required',
      (store: Store) => store.agentTokens.revoke('robot', 'main', 1),
    ],
    [
      'the token was rotated',
      'own',
      407,
      'agent_auth_required',
      (store: Store) => store.agentTokens.add(tokenRecord({ agent: 'robot' }), { label: 'main', at: 1 }),
    ],
    [
      'the binding was taken',
      'own',
      403,
      'grant_missing',
      (store: Store) => store.bindings.remove('robot', [everything]),
    ],
  ] as const)(
    'ends inside an open tunnel, by another process: %s (%s token)',
    async (_what, secret, status, reason, takeAway) => {
      const { upstream, sidekey } = await granted((_request, response) => response.end('ok'));
      const { store } = sidekey.proxy.state;
      await addAgent(store, 'robot', 'own');
      const [grant] = await allGrants(store);
      const ids = grant === undefined ? [] : [grant.id];
      const expiresAt = Date.now() + 900_000;
      await store.leases.insert(
        leaseRecord({ agent: 'robot', tokenHash: hashToken('lease'), grants: ids, expiresAt }),
      );
      const field = `Proxy-Authorization: Basic ${Buffer.from(`robot:${secret}`).toString('base64')}`;
      const client = await openTunnel(sidekey, upstream.authority, { fields: [field] });
      const ask = async () => {
        client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
        return client.response();
      };
      expect(await ask()).toMatchObject({ status: 200 });
      const elsewhere = await openSqliteStore(sidekey.proxy.state.store.location, { now: Date.now });
      await takeAway(elsewhere);
      await elsewhere.close();
      expect(await ask()).toMatchObject({ status, reason });
    },
  );

  test('ends inside an open tunnel: the grant was revoked, then removed', async () => {
    let asked = 0;
    const upstream = await startUpstream((_request, response) => response.end(String((asked += 1))));
    const sidekey = await startSidekey({ domains: { [upstream.authority]: { grant: 'acme' } } });
    const grant = await sidekey.grant([upstream.authority]);
    const client = await openTunnel(sidekey, upstream.authority);
    const ask = async () => {
      client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
      return client.response();
    };
    expect(await ask()).toMatchObject({ status: 200 });
    await sidekey.proxy.state.grants.setState(grant, 'revoked', 'a person said so');
    expect(await ask()).toMatchObject({ status: 403, reason: 'grant_revoked' });
    await sidekey.proxy.state.grants.remove(grant.id);
    expect(await ask()).toMatchObject({ status: 403, reason: 'grant_missing' });
    expect(asked).toBe(1);
  });

  test('ends inside an open tunnel: the domain was removed from the map', async () => {
    const { upstream, sidekey } = await granted((_request, response) => response.end('ok'));
    const client = await openTunnel(sidekey, upstream.authority);
    await sidekey.configure({ domains: {} });
    client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    expect(await client.response()).toMatchObject({ status: 403, reason: 'domain_not_allowed' });
    expect(upstream.connections()).toBe(0);
  });

  test('ends a blind tunnel', async () => {
    const upstream = await startUpstream((_request, response) => response.end('ok'));
    const { sidekey } = await grantedTo(upstream, { domains: { [upstream.authority]: 'tunnel' } });
    const client = await openClient(sidekey);
    client.send(`CONNECT ${upstream.authority} HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    expect(await client.response('CONNECT')).toMatchObject({ status: 200 });
    await sidekey.configure({ domains: { [upstream.authority]: { grant: 'acme' } } });
    await client.ended();
    await upstream.allClosed();
  });
});

test('a request whose right is revoked during a refresh after a 401 is not sent with the new token', async () => {
  const used: string[] = [];
  const renewal = Promise.withResolvers<() => void>();
  const upstream = await startUpstream((request, response) => {
    if (request.url !== '/token') {
      const { authorization = 'none' } = request.headers;
      used.push(authorization);
      response.writeHead(authorization === 'Bearer fresh' ? 200 : 401, { 'content-length': 0 }).end();
      return;
    }
    request.resume().on('end', () =>
      renewal.resolve(() => {
        response.setHeader('content-type', 'application/json');
        response.end(JSON.stringify({ access_token: 'fresh', token_type: 'Bearer', expires_in: 3600 }));
      }),
    );
  });
  const acme = { token_endpoint: `${upstream.url}/token`, client_id: 'x', audience: [upstream.authority] };
  const sidekey = await startSidekey({
    domains: { [upstream.authority]: { grant: 'acme' } },
    config: { providers: { acme } },
  });
  await sidekey.grant([upstream.authority], {
    credential: {
      type: 'oauth2',
      accessToken: 'stale',
      refreshToken: 'refresh',
      expiresAt: Date.now() + 3_600_000,
      obtainedAt: Date.now(),
      scope: null,
      clientId: null,
      clientSecret: null,
      tokenEndpoint: null,
    },
  });
  const { store } = sidekey.proxy.state;
  await addAgent(store, 'robot', 'secret');
  const field = `Proxy-Authorization: Basic ${Buffer.from('robot:secret').toString('base64')}`;
  const client = await openTunnel(sidekey, upstream.authority, { fields: [field] });
  client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
  const answer = await renewal.promise;
  await store.agents.change('robot', { disabledAt: 1 });
  answer();
  // The check of open exchanges, once a second, may cut the connection before the response.
  const response = await client.response().catch(() => null);
  if (response !== null) expect(response).toMatchObject({ status: 407, reason: 'agent_auth_required' });
  expect(used).toEqual(['Bearer stale']);
});
