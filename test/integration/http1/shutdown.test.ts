import { readFile } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { connect as connectTls } from 'node:tls';
import { describe, expect, test } from 'vitest';
import { granted } from '../../support/granted.ts';
import { openClient, openTunnel, rawClient } from '../../support/raw-client.ts';
import { startSidekey } from '../../support/sidekey.ts';
import { startUpstream, upstreamCa, upstreamHost } from '../../support/upstream.ts';

describe('a proxy that stops', () => {
  test('finishes active exchanges, accepts no connection, and then cuts the remaining exchanges', async () => {
    const begun = Promise.withResolvers<ServerResponse>();
    const { upstream, sidekey } = await granted((_request, response) => {
      response.write('first ');
      begun.resolve(response);
    });
    const idle = await openTunnel(sidekey, upstream.authority);
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    await client.until('first');
    const stopped = sidekey.proxy.close();
    await expect(openClient(sidekey)).rejects.toThrow('ECONNREFUSED');
    (await begun.promise).end('last');
    expect(await client.response()).toMatchObject({ status: 200, body: 'first last' });
    await stopped;
    await Promise.all([client.ended(), idle.ended()]);
    await upstream.allClosed();
    const events = (await readFile(sidekey.proxy.config().audit.file, 'utf8'))
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { event: string }).event);
    expect(events[0]).toBe('key.created');
    expect(events.slice(-2)).toEqual(['outcome', 'proxy.stopped']);
  });

  test('answers one more request on a connection that is new or was just used', async () => {
    const sidekey = await startSidekey({ now: () => Date.UTC(2026, 0, 2) });
    const [fresh, next] = [await openClient(sidekey), await openClient(sidekey)];
    const request = 'GET /healthz HTTP/1.1\r\nHost: proxy\r\n\r\n';
    next.send(request);
    // Connections are accepted in their order.
    await next.response();
    const stopped = sidekey.proxy.close();
    for (const client of [fresh, next]) {
      client.send(request);
      expect(await client.response()).toMatchObject({ status: 200, headers: { connection: 'close' } });
    }
    await stopped;
  });

  test('finishes the handshake of a tunnel that was just opened, and its request', async () => {
    const { upstream, sidekey } = await granted((_request, response) => response.end('ok'));
    const outer = await openClient(sidekey);
    outer.send(`CONNECT ${upstream.authority} HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    await outer.response('CONNECT');
    outer.socket.removeAllListeners('data');
    const stopped = sidekey.proxy.close();
    const inner = connectTls({ socket: outer.socket, servername: upstreamHost, ca: sidekey.caPem });
    const client = rawClient(inner);
    client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    expect(await client.response()).toMatchObject({ status: 200, body: 'ok' });
    await stopped;
  });

  test('closes idle connections early, while other connections are still served', async () => {
    const begun = Promise.withResolvers<ServerResponse>();
    const { upstream, sidekey } = await granted((_request, response) => begun.resolve(response));
    const idle = [await openTunnel(sidekey, upstream.authority), await openClient(sidekey)];
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    const response = await begun.promise;
    const stopped = sidekey.proxy.close();
    await Promise.all(idle.map((it) => it.ended()));
    response.end('ok');
    expect(await client.response()).toMatchObject({ status: 200, body: 'ok' });
    await stopped;
  });

  test('sends Connection: close on its last responses', async () => {
    const begun = Promise.withResolvers<ServerResponse>();
    const { upstream, sidekey } = await granted((_request, response) => begun.resolve(response));
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    const response = await begun.promise;
    const stopped = sidekey.proxy.close();
    response.end('ok');
    const answer = await client.response();
    expect(answer).toMatchObject({ status: 200, body: 'ok' });
    expect(answer.headers['connection']).toBe('close');
    await stopped;
  });

  test('cuts remaining exchanges after limits.drain, with an audit event', async () => {
    const { upstream, sidekey } = await granted((_request, response) => void response.write('first'), {
      config: { limits: { drain: '50ms' } },
    });
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    await client.until('first');
    await sidekey.proxy.close();
    await client.ended();
    await upstream.allClosed();
    expect((await sidekey.audit()).find(({ event }) => event === 'outcome')).toMatchObject({
      outcome: 'aborted',
    });
  });

  test('closes quiet blind tunnels, and can be stopped twice', async () => {
    const upstream = await startUpstream((_request, response) => response.end('ok'));
    const sidekey = await startSidekey({ domains: { [upstream.authority]: 'tunnel' } });
    const client = await openClient(sidekey);
    client.send(`CONNECT ${upstream.authority} HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    expect(await client.response('CONNECT')).toMatchObject({ status: 200 });
    await Promise.all([sidekey.proxy.close(), sidekey.proxy.close()]);
    await client.ended();
    await upstream.allClosed();
  });

  test('waits for a blind tunnel while bytes are transferred', async () => {
    let rest: (() => void) | undefined;
    const upstream = await startUpstream((_request, response) => {
      let pieces = 0;
      const piece = setInterval(() => {
        response.write('piece ');
        pieces += 1;
        if (pieces < 8) return;
        clearInterval(piece);
        response.end('end');
      }, 250);
      rest?.();
    });
    const sidekey = await startSidekey({ domains: { [upstream.authority]: 'tunnel' } });
    const outer = await openClient(sidekey);
    outer.send(`CONNECT ${upstream.authority} HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    await outer.response('CONNECT');
    outer.socket.removeAllListeners('data');
    const client = rawClient(connectTls({ socket: outer.socket, servername: upstreamHost, ca: upstreamCa }));
    const begun = new Promise<void>((resolve) => (rest = resolve));
    client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\nConnection: close\r\n\r\n`);
    await begun;
    await sidekey.proxy.close();
    expect(await client.ended()).toMatch(/end\r\n0\r\n\r\n$/);
  });

  test('waits for a running reload, and closes the resources of that reload', async () => {
    const sidekey = await startSidekey();
    const reloaded = sidekey.proxy.reload();
    await sidekey.proxy.close();
    await reloaded;
    expect(sidekey.logged()).not.toContain('the config stays as it was');
  });
});
