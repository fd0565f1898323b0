import { describe, expect, test } from 'vitest';
import { openSqliteStore } from '../../src/store/sqlite.ts';
import { hashToken } from '../../src/proxy/agent.ts';
import { granted, grantedTo } from '../support/granted.ts';
import { openClient, openTunnel } from '../support/raw-client.ts';
import { startSidekey } from '../support/sidekey.ts';
import { startUpstream } from '../support/upstream.ts';

describe('a right that is taken away', () => {
  test('ends inside an open tunnel: the agent was removed, by another process', async () => {
    const { upstream, sidekey } = await granted((_request, response) => response.end('ok'), {
      config: { proxy: { listen: '127.0.0.1:0', agents: 'required' } },
    });
    const { agents } = sidekey.proxy.state.store;
    await agents.insert({ name: 'robot', tokenHash: hashToken('secret'), createdAt: 0 });
    const field = `Proxy-Authorization: Basic ${Buffer.from('robot:secret').toString('base64')}`;
    const client = await openTunnel(sidekey, upstream.authority, { fields: [field] });
    const ask = async () => {
      client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
      return client.response();
    };
    expect(await ask()).toMatchObject({ status: 200 });
    const elsewhere = await openSqliteStore(sidekey.proxy.config().store.path, { now: Date.now });
    await elsewhere.agents.remove('robot');
    await elsewhere.close();
    expect(await ask()).toMatchObject({ status: 407, reason: 'agent_auth_required' });
    expect(upstream.connections()).toBe(1);
  });

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

  test('ends inside an open tunnel: the domain was taken out of the map', async () => {
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
