import { setImmediate as immediate } from 'node:timers/promises';
import { createServer, type IncomingMessage } from 'node:http';
import { once } from 'node:events';
import { networkInterfaces } from 'node:os';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { SidekeyError } from '../../../../src/lib/errors.ts';
import { defaultLimits } from '../../../../src/proxy/policy/limits.ts';
import type { Dialer } from '../../../../src/proxy/upstream/dialer.ts';
import { createTokenFetch } from '../../../../src/proxy/upstream/token-fetch.ts';
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

function fetchOver(dialer: Dialer) {
  const tokens = createTokenFetch(dialer, defaultLimits);
  closing.push(() => tokens.close());
  return tokens.fetch;
}

const hasIPv6 = Object.values(networkInterfaces()).some((list) =>
  list?.some(({ address }) => address === '::1'),
);

describe('fetch for token endpoints', () => {
  it('connects through the dialer, once for consecutive requests', async () => {
    const port = await serve(({ url }) => [200, {}, url ?? '']);
    const dialer = dialerForTest({ pinned: { 'api.example': '127.0.0.1' } });
    const dialed: string[] = [];
    const fetch = fetchOver({
      ...dialer,
      connect(authority) {
        dialed.push(`${authority.scheme} ${authority.host} ${authority.port}`);
        return dialer.connect(authority);
      },
    });
    for (const path of ['/one', '/two']) {
      const response = await fetch(`http://api.example:${port}${path}`);
      expect(await response.text()).toBe(path);
      // A connection becomes idle in the next turn of the event loop.
      await immediate();
    }
    expect(dialed).toEqual([`http api.example ${port}`]);
  });

  it.skipIf(!hasIPv6)('connects to an IPv6 address', async () => {
    const port = await serve(() => [200, {}, 'six'], '::1');
    const response = await fetchOver(dialerForTest())(`http://[::1]:${port}/`);
    expect(await response.text()).toBe('six');
  });

  it('passes the whole authority to the dialer, including an IPv6 address', async () => {
    const asked: unknown[] = [];
    const refused = new SidekeyError('address_blocked', 'Not there.');
    const fetch = fetchOver({
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
      await expect(fetch(origin)).rejects.toMatchObject({ cause: refused });
    expect(asked).toEqual([
      { scheme: 'https', host: '[2001:db8::1]', port: 443 },
      { scheme: 'https', host: '[2001:db8::1]', port: 8443 },
      { scheme: 'https', host: '192.0.2.1', port: 443 },
      { scheme: 'http', host: 'a.example', port: 80 },
    ]);
  });

  it('fails with the error of the dialer as its cause', async () => {
    const port = await serve(() => [200, {}, 'never']);
    const fetch = fetchOver(dialerForTest({ permitted: [] }));
    await expect(fetch(`http://127.0.0.1:${port}/token`)).rejects.toMatchObject({
      cause: { code: 'address_blocked' },
    });
  });

  it('follows no redirect', async () => {
    const asked: string[] = [];
    const port = await serve(({ url = '' }) => {
      asked.push(url);
      return [302, { location: '/elsewhere' }, ''];
    });
    const fetch = fetchOver(dialerForTest());
    const response = await fetch(`http://127.0.0.1:${port}/token`, { redirect: 'follow' });
    expect(response.status).toBe(302);
    expect(asked).toEqual(['/token']);
  });
});
