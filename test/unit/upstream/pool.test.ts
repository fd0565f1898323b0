import { setImmediate as immediate } from 'node:timers/promises';
import { createServer, type IncomingMessage } from 'node:http';
import { once } from 'node:events';
import { networkInterfaces } from 'node:os';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { SidekeyError } from '../../../src/lib/errors.ts';
import { defaultLimits } from '../../../src/policy/limits.ts';
import { createFetch, createPool } from '../../../src/upstream/client.ts';
import type { Dialer } from '../../../src/upstream/dialer.ts';
import { dialerForTest } from './upstream-for-test.ts';

const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close();
});

async function serve(
  answer: (request: IncomingMessage) => [status: number, fields: Record<string, string>, body: string],
  host = '127.0.0.1',
) {
  const server = createServer((request, response) => {
    const [status, fields, body] = answer(request);
    response.writeHead(status, fields).end(body);
  });
  server.listen(0, host);
  await once(server, 'listening');
  closing.push(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  return (server.address() as AddressInfo).port;
}

function poolOver(dialer: Dialer) {
  const pool = createPool(dialer, defaultLimits);
  closing.push(() => pool.close());
  return pool;
}

const hasIPv6 = Object.values(networkInterfaces()).some((list) =>
  list?.some(({ address }) => address === '::1'),
);

describe('the pool', () => {
  it('connects through the dialer, once for requests that follow each other', async () => {
    const port = await serve(({ url }) => [200, {}, url ?? '']);
    const dialer = dialerForTest({ pinned: { 'api.example': '127.0.0.1' } });
    const dialed: string[] = [];
    const pool = poolOver({
      ...dialer,
      connect(authority) {
        dialed.push(`${authority.scheme} ${authority.host} ${authority.port}`);
        return dialer.connect(authority);
      },
    });
    for (const path of ['/one', '/two']) {
      const { body } = await pool.request({ origin: `http://api.example:${port}`, method: 'GET', path });
      expect(await body.text()).toBe(path);
      // A connection serves again in the next turn of the event loop.
      await immediate();
    }
    expect(dialed).toEqual([`http api.example ${port}`]);
  });

  it.skipIf(!hasIPv6)('reaches an upstream that is an IPv6 address', async () => {
    const port = await serve(() => [200, {}, 'six'], '::1');
    const pool = poolOver(dialerForTest());
    const { body } = await pool.request({ origin: `http://[::1]:${port}`, method: 'GET', path: '/' });
    expect(await body.text()).toBe('six');
  });

  it('hands the dialer the whole authority, an IPv6 address included', async () => {
    const asked: unknown[] = [];
    const refused = new SidekeyError('address_blocked', 'Not there.');
    const pool = poolOver({
      connect(authority) {
        asked.push(authority);
        return Promise.reject(refused);
      },
      connectBlind: () => Promise.reject(refused),
    });
    for (const origin of [
      'https://[2001:db8::1]',
      'https://[2001:db8::1]:8443',
      'https://192.0.2.1',
      'http://a.example',
    ])
      await expect(pool.request({ origin, method: 'GET', path: '/' })).rejects.toBe(refused);
    expect(asked).toEqual([
      { scheme: 'https', host: '[2001:db8::1]', port: 443 },
      { scheme: 'https', host: '[2001:db8::1]', port: 8443 },
      { scheme: 'https', host: '192.0.2.1', port: 443 },
      { scheme: 'http', host: 'a.example', port: 80 },
    ]);
  });

  it('fails with what the dialer says', async () => {
    const pool = poolOver(dialerForTest({ permitted: [] }));
    await expect(
      pool.request({ origin: 'http://127.0.0.1:9', method: 'GET', path: '/' }),
    ).rejects.toMatchObject({ code: 'address_blocked' });
  });
});

describe('fetch for token endpoints', () => {
  it('goes through the dialer', async () => {
    const port = await serve(() => [200, {}, 'never']);
    const guarded = createFetch(poolOver(dialerForTest({ permitted: [] })));
    await expect(guarded(`http://127.0.0.1:${port}/token`)).rejects.toMatchObject({
      cause: { code: 'address_blocked' },
    });
  });

  it('follows no redirect, so that what it carries goes to nobody else', async () => {
    const asked: string[] = [];
    const port = await serve(({ url = '' }) => {
      asked.push(url);
      return [302, { location: '/elsewhere' }, ''];
    });
    const guarded = createFetch(poolOver(dialerForTest()));
    const response = await guarded(`http://127.0.0.1:${port}/token`, { redirect: 'follow' });
    expect(response.status).toBe(302);
    expect(asked).toEqual(['/token']);
  });
});
