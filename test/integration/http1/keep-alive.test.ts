import { describe, expect, test } from 'vitest';
import { openClient, openTunnel } from '../../support/raw-client.ts';
import { granted, grantedRaw, onHeads } from '../../support/granted.ts';

describe('connections', () => {
  test('are kept on both sides: many requests use one connection each', async () => {
    const { upstream, sidekey } = await granted((request, response) => response.end(request.url));
    const client = await openTunnel(sidekey, upstream.authority);
    for (let i = 0; i < 5; i += 1) {
      client.send(`GET /${i} HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
      expect(await client.response()).toMatchObject({ status: 200, body: `/${i}` });
    }
    expect(upstream.connections()).toBe(1);
  });

  test('to an upstream are shared by successive clients', async () => {
    const { upstream, sidekey } = await granted((_request, response) => response.end('ok'));
    for (let i = 0; i < 3; i += 1) {
      const client = await openTunnel(sidekey, upstream.authority);
      client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\nConnection: close\r\n\r\n`);
      expect(await client.response()).toMatchObject({ status: 200 });
      expect(await client.ended()).toBe('');
    }
    expect(upstream.connections()).toBe(1);
  });

  test('of a client that sends Connection: close are closed after the response', async () => {
    const { upstream, sidekey } = await granted((_request, response) => response.end('ok'));
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\nConnection: close\r\n\r\n`);
    const answer = await client.response();
    expect(answer.headers).toMatchObject({ connection: 'close' });
    expect(await client.ended()).toBe('');
  });

  test('that an upstream closed while idle are replaced for a safe request', async () => {
    let seen = 0;
    const { upstream, sidekey } = await grantedRaw((socket) => {
      onHeads(socket, (_head, count) => {
        seen += 1;
        // The upstream closes the connection without a response at its second request.
        if (count === 2) socket.destroy();
        else socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
      });
    });
    const client = await openTunnel(sidekey, upstream.authority);
    for (let i = 0; i < 2; i += 1) {
      client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
      expect(await client.response()).toMatchObject({ status: 200, body: 'ok' });
    }
    expect([seen, upstream.connections()]).toEqual([3, 2]);
  });

  test('that fail during an unsafe request cause an error, without a retry', async () => {
    let seen = 0;
    const { upstream, sidekey } = await grantedRaw((socket) => {
      onHeads(socket, (_head, count) => {
        seen += 1;
        if (count === 2) socket.destroy();
        else socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
      });
    });
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    expect(await client.response()).toMatchObject({ status: 200 });
    client.send(`POST / HTTP/1.1\r\nHost: ${upstream.authority}\r\nContent-Length: 0\r\n\r\n`);
    expect(await client.response()).toMatchObject({ status: 502, reason: 'upstream_unreachable' });
    expect(seen).toBe(2);
  });

  test('over plain HTTP remain usable after a refusal', async () => {
    const { upstream, sidekey } = await granted((_request, response) => response.end('ok'));
    const client = await openClient(sidekey);
    client.send('GET https://other.test/ HTTP/1.1\r\nHost: other.test\r\n\r\n');
    expect(await client.response()).toMatchObject({ status: 403 });
    client.send(`GET ${upstream.url}/ HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    expect(await client.response()).toMatchObject({ status: 200, body: 'ok' });
  });
});
