import { afterEach, describe, expect, it } from 'vitest';
import { defaultLimits } from '../../../../src/proxy/policy/limits.ts';
import { createUpstreamClient, type UpstreamClient } from '../../../../src/proxy/upstream/client.ts';
import { authorityOf } from '../policy/policy-for-test.ts';
import { recordingUser } from './connection-user.ts';
import { upstream } from './upstream-for-test.ts';

const clients: UpstreamClient[] = [];
afterEach(() => Promise.all(clients.splice(0).map((client) => client.close())));

function clientWith(privateAddresses: readonly string[], ownPorts: readonly number[] = []): UpstreamClient {
  const client = createUpstreamClient({
    ca: [],
    resolve: new Map([['api.example', '127.0.0.1']]),
    privateAddresses,
    limits: defaultLimits,
    ownPorts: () => ownPorts,
  });
  clients.push(client);
  return client;
}

describe('the upstream client', () => {
  it('connects only to public and listed addresses', async () => {
    await using server = await upstream();
    const target = authorityOf(`api.example:${server.port}`);
    await expect(clientWith([]).dialer.connectBlind(target)).rejects.toMatchObject({
      code: 'address_blocked',
    });
    expect(server.accepted()).toBe(0);
    (await clientWith(['127.0.0.1']).dialer.connectBlind(target)).destroy();
  });

  it.each(['api.example', '127.0.0.1', '[::ffff:127.0.0.1]', '127.0.0.2', '0.0.0.0', '[::]', '[::1]'])(
    'never dials the proxy itself by the name %s, even if that name is listed',
    async (host) => {
      await using server = await upstream();
      const client = clientWith(['127.0.0.0/8', '0.0.0.0/8', '::/0'], [9, server.port]);
      await expect(client.dialer.connectBlind(authorityOf(`${host}:${server.port}`))).rejects.toMatchObject({
        code: 'address_blocked',
        message: expect.stringMatching(/this proxy itself/),
      });
      expect(server.accepted()).toBe(0);
    },
  );

  it('applies the address guard to fetch and connections', async () => {
    const { fetch, connections } = clientWith([]);
    await expect(fetch('https://127.0.0.1/token')).rejects.toMatchObject({
      cause: { code: 'address_blocked' },
    });
    const user = recordingUser();
    connections.request(authorityOf('127.0.0.1:9'), user);
    await expect(user.connection).rejects.toMatchObject({ code: 'address_blocked' });
  });
});
