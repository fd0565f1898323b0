import { networkInterfaces } from 'node:os';
import { once } from 'node:events';
import { connect } from 'node:net';
import { describe, expect, test } from 'vitest';
import { openClient, rawClient } from '../support/raw-client.ts';
import { startSidekey } from '../support/sidekey.ts';
import { startPlainUpstream } from '../support/upstream.ts';

const outward = Object.values(networkInterfaces())
  .flatMap((list) => list ?? [])
  .find(({ internal, family }) => !internal && family === 'IPv4')?.address;

describe('a listener that other machines can reach', () => {
  test('does not start if callers need no token', async () => {
    await expect(
      startSidekey({ config: { proxy: { listen: '0.0.0.0:0', authentication: 'optional' } } }),
    ).rejects.toMatchObject({ code: expect.stringMatching(/listener_open|config_invalid/) });
  });

  test.skipIf(outward === undefined)(
    'requires a token of remote callers after any config change (needs an address besides loopback)',
    async () => {
      const upstream = await startPlainUpstream((_request, response) => response.end('ok'));
      const sidekey = await startSidekey({
        config: { proxy: { listen: '0.0.0.0:0', authentication: 'required' } },
        domains: { [upstream.authority]: 'tunnel' },
      });
      const ask = `GET ${upstream.url}/ HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`;
      const status = async (host: string): Promise<number> => {
        const socket = connect({ host, port: sidekey.port });
        await once(socket, 'connect');
        const client = rawClient(socket);
        client.send(ask);
        return (await client.response()).status;
      };
      expect(await status(outward ?? '')).toBe(407);
      expect(await status('127.0.0.1')).toBe(407);
      // The listening socket stays where it is until the next start; who may use it changes at once.
      await sidekey.configure({ proxy: { listen: '127.0.0.1:0', authentication: 'optional' } });
      expect(await status('127.0.0.1')).toBe(200);
      expect(await status(outward ?? '')).toBe(407);
    },
  );

  test('cannot be created by a reload', async () => {
    const sidekey = await startSidekey();
    await sidekey.configure({ proxy: { listen: '0.0.0.0:0', authentication: 'optional' } });
    await sidekey.audited((line) => line.event === 'config.rejected');
    expect(sidekey.proxy.config().proxy.listen.host).toBe('127.0.0.1');
  });

  test('accepts no request that a browser may send for a web page', async () => {
    const sidekey = await startSidekey({ domains: { 'api.acme.test:81': 'tunnel' } });
    for (const target of ['/', '/http://api.acme.test:81/', '//api.acme.test:81/', '*', 'api.acme.test:81']) {
      const client = await openClient(sidekey);
      client.send(`GET ${target} HTTP/1.1\r\nHost: api.acme.test:81\r\n\r\n`);
      expect(await client.response()).toMatchObject({ status: 400, reason: 'bad_request' });
    }
  });
});
