import { afterEach, describe, expect, it } from 'vitest';
import { defaultLimits } from '../../../src/policy/limits.ts';
import { createExit, type Exit } from '../../../src/upstream/client.ts';
import { authorityOf } from '../policy/policy-for-test.ts';
import { recordingUser } from './connection-user.ts';
import { upstream } from './upstream-for-test.ts';

const exits: Exit[] = [];
afterEach(() => Promise.all(exits.splice(0).map((exit) => exit.close())));

function exitOf(privateAddresses: readonly string[], ownPorts: readonly number[] = []): Exit {
  const exit = createExit({
    ca: [],
    resolve: new Map([['api.example', '127.0.0.1']]),
    privateAddresses,
    limits: defaultLimits,
    ownPorts: () => ownPorts,
  });
  exits.push(exit);
  return exit;
}

describe('the exit', () => {
  it('keeps to public addresses, and those that are listed', async () => {
    await using server = await upstream();
    const target = authorityOf(`api.example:${server.port}`);
    await expect(exitOf([]).dialer.connectBlind(target)).rejects.toMatchObject({ code: 'address_blocked' });
    expect(server.accepted()).toBe(0);
    (await exitOf(['127.0.0.1']).dialer.connectBlind(target)).destroy();
  });

  it.each(['api.example', '127.0.0.1', '[::ffff:127.0.0.1]', '127.0.0.2', '0.0.0.0', '[::]', '[::1]'])(
    'never dials the proxy itself by the name %s, even where that is listed',
    async (host) => {
      await using server = await upstream();
      const exit = exitOf(['127.0.0.0/8', '0.0.0.0/8', '::/0'], [9, server.port]);
      await expect(exit.dialer.connectBlind(authorityOf(`${host}:${server.port}`))).rejects.toMatchObject({
        code: 'address_blocked',
        message: expect.stringMatching(/this proxy itself/),
      });
      expect(server.accepted()).toBe(0);
    },
  );

  it('guards fetch and the connections alike', async () => {
    const { fetch, connections } = exitOf([]);
    await expect(fetch('https://127.0.0.1/token')).rejects.toMatchObject({
      cause: { code: 'address_blocked' },
    });
    const user = recordingUser();
    connections.request(authorityOf('127.0.0.1:9'), user);
    await expect(user.connection).rejects.toMatchObject({ code: 'address_blocked' });
  });
});
