import { once } from 'node:events';
import type { IncomingHttpHeaders } from 'node:http';
import { Agent } from 'node:https';
import type { Duplex } from 'node:stream';
import { describe, expect, onTestFinished, test } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import { granted, grantedRaw, onHeads } from '../../support/granted.ts';
import { openTunnel, type RawClient } from '../../support/raw-client.ts';
import { bearerToken, startSidekey, type TestSidekey } from '../../support/sidekey.ts';
import { startUpstream } from '../../support/upstream.ts';

/** A ws client whose one connection is a tunnel of the proxy. */
async function connectWs(sidekey: TestSidekey, authority: string, path = '/chat'): Promise<WebSocket> {
  const tunnel = await openTunnel(sidekey, authority);
  tunnel.socket.removeAllListeners('data');
  const agent = new Agent();
  Object.assign(agent, { createConnection: () => tunnel.socket });
  return new WebSocket(`wss://${authority}${path}`, ['v1.chat', 'v2.chat'], {
    agent,
    headers: { authorization: 'Bearer placeholder', 'sidekey-reason': 'talk', 'X-Kept': 'yes' },
    perMessageDeflate: false,
  });
}

async function echoing() {
  const seen: IncomingHttpHeaders[] = [];
  const urls: (string | undefined)[] = [];
  const upstream = await startUpstream((_request, response) => response.writeHead(404).end('no such thing'));
  const server = new WebSocketServer({ server: upstream.server, path: '/chat' });
  onTestFinished(() => server.close());
  server.on('headers', (headers) =>
    headers.push('X-Upstream: 1', 'Alt-Svc: h3=":443"', 'Sidekey-Error: forged'),
  );
  server.on('connection', (socket, request) => {
    seen.push(request.headers);
    urls.push(request.url);
    socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }));
  });
  const sidekey = await startSidekey({ domains: { [upstream.authority]: { grant: 'acme' } } });
  await sidekey.grant([upstream.authority]);
  return { upstream, sidekey, server, seen, urls };
}

function handshake(authority: string, more = ''): string {
  return (
    `GET /chat HTTP/1.1\r\nHost: ${authority}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
    `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n${more}\r\n`
  );
}

describe('a WebSocket', () => {
  test('gets the credential in its handshake, and carries frames in both directions', async () => {
    const { upstream, sidekey, seen, urls } = await echoing();
    const socket = await connectWs(sidekey, upstream.authority, '/chat?room=%2f');
    const opened = once(socket, 'open');
    const [response] = (await once(socket, 'upgrade')) as [{ headers: IncomingHttpHeaders }];
    await opened;
    expect(socket.protocol).toBe('v1.chat');
    expect(response.headers).toMatchObject({ 'x-upstream': '1' });
    expect(response.headers['alt-svc']).toBeUndefined();
    expect(response.headers['sidekey-error']).toBeUndefined();
    expect(urls).toEqual(['/chat?room=%2f']);
    expect(seen[0]).toMatchObject({
      authorization: `Bearer ${bearerToken}`,
      host: upstream.authority,
      'x-kept': 'yes',
      upgrade: 'websocket',
    });
    expect(seen[0]?.['sidekey-reason']).toBeUndefined();

    socket.send('hello');
    const [text] = (await once(socket, 'message')) as [Buffer];
    expect(text.toString()).toBe('hello');
    const large = Buffer.alloc(5_000_000, 7);
    socket.send(large);
    const [echoed] = (await once(socket, 'message')) as [Buffer];
    expect(echoed.equals(large)).toBe(true);
    socket.close(4001, 'enough');
    const [code] = (await once(socket, 'close')) as [number];
    expect(code).toBe(4001);
    const outcome = await sidekey.audited((line) => line.event === 'outcome');
    expect(outcome).toMatchObject({ status: 101, outcome: 'ok', path: '/chat' });
    expect(outcome.bytes_in).toBeGreaterThan(5_000_000);
    expect(outcome.bytes_out).toBeGreaterThan(5_000_000);
    await upstream.allClosed();
  });

  test('is closed for the client when the upstream closes it', async () => {
    const { upstream, sidekey, server } = await echoing();
    const socket = await connectWs(sidekey, upstream.authority);
    await once(socket, 'open');
    for (const peer of server.clients) peer.close(4002, 'away');
    const [code] = (await once(socket, 'close')) as [number];
    expect(code).toBe(4002);
    await upstream.allClosed();
  });

  test.each([
    ['the upstream', (server: WebSocketServer) => [...server.clients].forEach((peer) => peer.terminate())],
    ['the client', (_server: WebSocketServer, socket: WebSocket) => socket.terminate()],
  ])('is closed on both sides if %s breaks off', async (_name, breakOff) => {
    const { upstream, sidekey, server } = await echoing();
    const socket = await connectWs(sidekey, upstream.authority);
    await once(socket, 'open');
    const closed = once(socket, 'close');
    breakOff(server, socket);
    await closed;
    await upstream.allClosed();
    await expect(sidekey.audited((line) => line.event === 'outcome')).resolves.toMatchObject({ status: 101 });
  });

  test.each([
    ['CR LF', 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n'],
    ['LF', 'HTTP/1.1 101 Switching Protocols\nConnection : Upgrade\nUpgrade: websocket\n\n'],
    [
      'LF behind an interim response',
      'HTTP/1.1 100 Continue\nContent-Length: 0\n\nHTTP/1.1 101 Switching Protocols\nConnection: Upgrade\nUpgrade: websocket\n\n',
    ],
  ])('loses no bytes sent directly after a handshake whose lines end in %s', async (_end, head) => {
    const { upstream, sidekey } = await grantedRaw((socket) => {
      onHeads(socket, () => {
        socket.removeAllListeners('data');
        socket.write(`${head}from the upstream`);
        socket.on('data', (chunk: Buffer) => socket.write(`<${chunk.toString()}>`));
      });
    });
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(`${handshake(upstream.authority)}from the client`);
    expect(await client.response()).toMatchObject({ status: 101, reason: 'Switching Protocols' });
    const text = await client.until('from the client>');
    expect(text).toBe('from the upstream<from the client>');
  });

  test('applies backpressure in both directions', async () => {
    const upstreamSide = Promise.withResolvers<Duplex>();
    const { upstream, sidekey } = await grantedRaw((socket) => {
      onHeads(socket, () => {
        socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n');
        upstreamSide.resolve(socket);
      });
    });
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(handshake(upstream.authority));
    await client.response();
    client.socket.pause();
    const stream = await upstreamSide.promise;
    let written = 0;
    // More megabytes than any system holds in its sockets.
    const most = 1_000;
    for (let stuck = 0, before = -1; stuck < 200 && written < most;) {
      if (stream.writableLength < 1_000_000) {
        stream.write(Buffer.alloc(1_000_000));
        written += 1;
      }
      await new Promise((resolve) => setImmediate(resolve));
      stuck = stream.writableLength === before ? stuck + 1 : 0;
      before = stream.writableLength;
    }
    expect(written).toBeLessThan(most);
    client.socket.destroy();
    await upstream.allClosed();
  });
});

describe('a failed WebSocket handshake', () => {
  test.each([
    ['a length', 'HTTP/1.1 403 No\r\nContent-Length: 4\r\nX-Up: 1\r\nAlt-Svc: h3\r\n\r\nnope'],
    ['chunks', 'HTTP/1.1 403 No\r\nX-Up: 1\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nnope\r\n0\r\n\r\n'],
    ['the end of the connection', 'HTTP/1.1 403 No\r\nX-Up: 1\r\n\r\nnope'],
    [
      'a length and chunks, with lines that end in LF',
      'HTTP/1.0 403 No\nX-Up : 1\nContent-Length: 4\nTransfer-Encoding: chunked\n\n4 \nnope\n0\n\n',
    ],
  ])('forwards the response of the upstream, framed by %s', async (_name, bytes) => {
    const { upstream, sidekey } = await grantedRaw((socket) => {
      onHeads(socket, () => socket.end(bytes));
    });
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(handshake(upstream.authority));
    const answer = await client.response();
    expect(answer).toMatchObject({ status: 403, reason: 'No', body: 'nope' });
    expect(answer.headers).toMatchObject({ 'x-up': '1', connection: 'close' });
    expect(answer.headers['alt-svc']).toBeUndefined();
    expect(answer.headers['transfer-encoding']).toBeUndefined();
    expect(await client.ended()).toBe('');
    await expect(sidekey.audited((line) => line.event === 'outcome')).resolves.toMatchObject({
      status: 403,
      outcome: 'ok',
      bytes_out: 4,
    });
    await upstream.allClosed();
  });

  test('is refused like any other request', async () => {
    const { upstream, sidekey } = await granted((_request, response) => response.end());
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(handshake('evil.test'));
    expect(await client.response()).toMatchObject({ status: 421, reason: 'authority_mismatch' });
    expect(await client.ended()).toBe('');
  });

  test('reports an unreachable upstream', async () => {
    const { upstream, sidekey } = await granted((_request, response) => response.end());
    const client = await openTunnel(sidekey, upstream.authority);
    await upstream.close();
    client.send(handshake(upstream.authority));
    expect(await client.response()).toMatchObject({ status: 502, reason: 'upstream_unreachable' });
  });

  test.each([
    ['closes', (socket: Duplex) => socket.end(), 502, 'upstream_unreachable'],
    ['speaks no HTTP', (socket: Duplex) => socket.end('SSH-2.0-x\r\n\r\n'), 502, 'upstream_protocol'],
    [
      'switches to another protocol',
      (socket: Duplex) =>
        socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n'),
      502,
      'upstream_protocol',
    ],
    [
      'names no protocol in its 101',
      (socket: Duplex) => socket.write('HTTP/1.1 101 Switching Protocols\r\n\r\n'),
      502,
      'upstream_protocol',
    ],
  ])('reports that the upstream %s', async (_name, act, status, reason) => {
    const { upstream, sidekey } = await grantedRaw((socket) => {
      onHeads(socket, () => act(socket));
    });
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(handshake(upstream.authority));
    expect(await client.response()).toMatchObject({ status, reason });
    await upstream.allClosed();
  });

  test('reports an upstream time-out', async () => {
    const { upstream, sidekey } = await grantedRaw((socket) => void socket.resume(), {
      config: { limits: { upstream_head: '50ms' } },
    });
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(handshake(upstream.authority));
    expect(await client.response()).toMatchObject({ status: 504, reason: 'upstream_timeout' });
    await upstream.allClosed();
  });

  test('is cleaned up if the client disconnects first', async () => {
    const asked = Promise.withResolvers<void>();
    const { upstream, sidekey } = await grantedRaw((socket) => onHeads(socket, () => asked.resolve()));
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(handshake(upstream.authority));
    await asked.promise;
    client.socket.destroy();
    await upstream.allClosed();
    await expect(sidekey.audited((line) => line.event === 'outcome')).resolves.toMatchObject({
      outcome: 'aborted',
    });
  });
});

async function open(client: RawClient, authority: string): Promise<void> {
  client.send(handshake(authority));
  expect(await client.response()).toMatchObject({ status: 101 });
}

function switching(socket: Duplex): void {
  socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n');
}

describe('an open WebSocket', () => {
  test('is cut when its domain is removed from the config', async () => {
    const { upstream, sidekey } = await grantedRaw((socket) => onHeads(socket, () => switching(socket)));
    const client = await openTunnel(sidekey, upstream.authority);
    await open(client, upstream.authority);
    await sidekey.configure({ domains: {} });
    await client.ended();
    await upstream.allClosed();
  });

  test('is cut after tunnel_idle without data', async () => {
    const { upstream, sidekey } = await grantedRaw((socket) => onHeads(socket, () => switching(socket)), {
      config: { limits: { tunnel_idle: '50ms' } },
    });
    const client = await openTunnel(sidekey, upstream.authority);
    await open(client, upstream.authority);
    await client.ended();
    await upstream.allClosed();
  });
});
