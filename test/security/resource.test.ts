import { getActiveResourcesInfo } from 'node:process';
import { describe, expect, onTestFinished, test } from 'vitest';
import { granted } from '../support/granted.ts';
import { openClient, openTunnel } from '../support/raw-client.ts';
import { startSidekey } from '../support/sidekey.ts';

const turn = () => new Promise((resolve) => setImmediate(resolve));

describe('a client that wastes shared resources', () => {
  test('by a slow head is cut', async () => {
    const sidekey = await startSidekey({ config: { limits: { head_timeout: '1s' } } });
    const client = await openClient(sidekey);
    const trickle = setInterval(() => client.send('X: 1\r\n'), 5);
    onTestFinished(() => clearInterval(trickle));
    client.send('GET http://a.test/ HTTP/1.1\r\n');
    expect(await client.response()).toMatchObject({ status: 400 });
    await client.ended();
  });

  test('by an endless head is cut at head_bytes', async () => {
    const sidekey = await startSidekey({ config: { limits: { head_bytes: '8KiB' } } });
    const client = await openClient(sidekey);
    client.send('GET http://a.test/ HTTP/1.1\r\n');
    let sent = 0;
    const refusal = { came: false };
    const answer = client.response().finally(() => (refusal.came = true));
    while (!refusal.came && sent < 10_000_000) {
      client.send(`X: ${'x'.repeat(1_000)}\r\n`);
      sent += 1_000;
      await turn();
    }
    expect(await answer).toMatchObject({ status: 400 });
    expect(sent).toBeLessThan(1_000_000);
  });

  test('by idle tunnels reaches the connection limit, and earlier connections continue', async () => {
    const { upstream, sidekey } = await granted((_request, response) => response.end('ok'), {
      config: { limits: { client_connections: 20 } },
    });
    const tunnels = await Promise.all(
      Array.from({ length: 20 }, () => openTunnel(sidekey, upstream.authority)),
    );
    await expect(openTunnel(sidekey, upstream.authority)).rejects.toThrow(/503 overloaded|ended/);
    const [first] = tunnels;
    first?.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    expect(await first?.response()).toMatchObject({ status: 200 });
    for (const tunnel of tunnels) tunnel.socket.destroy();
  });

  test('by unanswered requests holds at most upstream_connections upstream connections', async () => {
    const { upstream, sidekey } = await granted(() => {}, {
      config: { limits: { upstream_connections: 3 } },
    });
    const clients = await Promise.all(
      Array.from({ length: 8 }, () => openTunnel(sidekey, upstream.authority)),
    );
    for (const [i, client] of clients.entries()) {
      client.send(`GET /${i} HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    }
    for (const i of clients.keys()) await sidekey.audited((line) => line.path === `/${i}`);
    for (let i = 0; i < 50; i += 1) await turn();
    expect(upstream.connections()).toBe(3);
    // Whoever leaves while they wait is not sent when their turn comes.
    for (const client of clients) client.socket.destroy();
    await upstream.allClosed();
    expect(upstream.connections()).toBe(3);
  });

  test('by disconnecting at any point leaves no connection open, and causes no leak warning', async () => {
    const warnings: string[] = [];
    const onWarning = (warning: Error) => void warnings.push(String(warning));
    process.on('warning', onWarning);
    onTestFinished(() => void process.off('warning', onWarning));
    const { upstream, sidekey } = await granted((request, response) => {
      if (request.url === '/hang') return;
      if (request.url === '/part') return void response.write('part');
      if (request.url === '/cut') return void request.socket.destroy();
      request.resume().on('error', () => {});
      response.end('ok');
    });
    const before = getActiveResourcesInfo().filter((it) => it.startsWith('TCP')).length;
    const host = `Host: ${upstream.authority}\r\n`;
    const ways = [
      async () => {
        const client = await openTunnel(sidekey, upstream.authority);
        for (let i = 0; i < 15; i += 1) {
          client.send(`POST /ok HTTP/1.1\r\n${host}Content-Length: 3\r\n\r\nabc`);
          expect(await client.response()).toMatchObject({ status: 200 });
        }
        client.socket.end();
      },
      async () => {
        const client = await openTunnel(sidekey, upstream.authority);
        client.send(`GET /hang HTTP/1.1\r\n${host}\r\n`);
        await turn();
        client.socket.destroy();
      },
      async () => {
        const client = await openTunnel(sidekey, upstream.authority);
        client.send(`GET /part HTTP/1.1\r\n${host}\r\n`);
        await client.until('part');
        client.socket.destroy();
      },
      async () => {
        const client = await openTunnel(sidekey, upstream.authority);
        client.send(`POST /cut HTTP/1.1\r\n${host}Content-Length: 9\r\n\r\nabc`);
        expect(await client.response()).toMatchObject({ status: 502 });
        client.socket.destroy();
      },
      async () => {
        const client = await openClient(sidekey);
        client.send(`CONNECT ${upstream.authority} HTTP/1.1\r\n${host}\r\n`);
        await client.response('CONNECT');
        client.send('\x16\x03\x01\x00\x05garbage');
        client.socket.destroy();
      },
    ];
    for (let round = 0; round < 6; round += 1) await Promise.all(ways.map((way) => way()));
    await sidekey.proxy.close();
    await upstream.allClosed();
    while (getActiveResourcesInfo().filter((it) => it.startsWith('TCP')).length > before) await turn();
    expect(warnings).toEqual([]);
  });
});
