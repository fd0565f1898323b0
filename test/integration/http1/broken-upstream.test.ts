import { createServer } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { describe, expect, test } from 'vitest';
import { granted, grantedRaw, onHeads } from '../../support/granted.ts';
import { openTunnel } from '../../support/raw-client.ts';
import { startSidekey } from '../../support/sidekey.ts';

const ok = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

describe('an upstream that fails before its response head', () => {
  test.each<[string, (socket: TLSSocket) => void, number, string]>([
    ['closes', (socket) => socket.end(), 502, 'upstream_unreachable'],
    ['resets', (socket) => socket.destroy(), 502, 'upstream_unreachable'],
    [
      'closes in the middle of its head',
      (socket) => socket.end('HTTP/1.1 200 OK\r\nX'),
      502,
      'upstream_protocol',
    ],
    ['sends garbage', (socket) => socket.end('\x16\x03\x01 hello\r\n\r\n'), 502, 'upstream_protocol'],
    ['speaks HTTP/2 unasked', (socket) => socket.end('\0\0\0\x04\0\0\0\0\0'), 502, 'upstream_protocol'],
    [
      'sends two lengths',
      (socket) => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nokk'),
      502,
      'upstream_protocol',
    ],
    [
      'sends an unknown coding',
      (socket) => socket.end('HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n'),
      502,
      'upstream_protocol',
    ],
    [
      'begins its body with no chunk size',
      (socket) => socket.end('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n'),
      502,
      'upstream_protocol',
    ],
    [
      'folds its length',
      (socket) => socket.end('HTTP/1.1 200 OK\r\nContent-Length:\r\n 2\r\n\r\nok'),
      502,
      'upstream_protocol',
    ],
    [
      'switches protocols unasked',
      (socket) =>
        socket.end('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n'),
      502,
      'upstream_protocol',
    ],
    [
      'has a head that is too large',
      (socket) => socket.end(`HTTP/1.1 200 OK\r\nX: ${'x'.repeat(70_000)}\r\n\r\n`),
      502,
      'upstream_protocol',
    ],
  ])('is reported if it %s', async (_name, act, status, reason) => {
    const { upstream, sidekey } = await grantedRaw((socket) => onHeads(socket, () => act(socket)));
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(`POST / HTTP/1.1\r\nHost: ${upstream.authority}\r\nContent-Length: 0\r\n\r\n`);
    const answer = await client.response();
    expect(answer).toMatchObject({ status, reason });
    expect(answer.headers['sidekey-error']).toBe(reason);
    expect(answer.headers['connection']).toBe('keep-alive');
    await expect(sidekey.audited((line) => line.event === 'outcome')).resolves.toMatchObject({
      outcome: 'failed',
      code: reason,
      status,
    });
    await upstream.allClosed();
  });

  test('by hanging fails after upstream_head', async () => {
    const { upstream, sidekey } = await grantedRaw((socket) => void socket.resume(), {
      config: { limits: { upstream_head: '50ms' } },
    });
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    expect(await client.response()).toMatchObject({ status: 504, reason: 'upstream_timeout' });
    await upstream.allClosed();
  });

  test('on a new connection is retried once for a safe request', async () => {
    let asked = 0;
    const { upstream, sidekey } = await grantedRaw((socket) =>
      onHeads(socket, () => ((asked += 1) === 1 ? socket.destroy() : socket.end(ok))),
    );
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    expect(await client.response()).toMatchObject({ status: 200, body: 'ok' });
    expect(asked).toBe(2);
    expect((await sidekey.audit()).filter(({ event }) => event === 'access')).toHaveLength(1);
  });

  test('twice is not tried a third time', async () => {
    let asked = 0;
    const { upstream, sidekey } = await grantedRaw((socket) =>
      onHeads(socket, () => {
        asked += 1;
        socket.destroy();
      }),
    );
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    expect(await client.response()).toMatchObject({ status: 502, reason: 'upstream_unreachable' });
    expect(asked).toBe(2);
  });
});

describe('an upstream that fails after its response head', () => {
  test.each<[string, (socket: TLSSocket) => void]>([
    ['sends less than it said', (socket) => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart')],
    [
      'resets',
      (socket) => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart', () => socket.destroy()),
    ],
    [
      'ends before its last chunk',
      (socket) => socket.end('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n'),
    ],
    [
      'garbles a chunk',
      (socket) => socket.end('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\nzz\r\n'),
    ],
  ])(
    'because it %s causes the client connection to be cut, so that the response is recognizably incomplete',
    async (_name, act) => {
      const { upstream, sidekey } = await grantedRaw((socket) => onHeads(socket, () => act(socket)));
      const client = await openTunnel(sidekey, upstream.authority);
      client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
      const text = await client.ended();
      expect(text).toContain('HTTP/1.1 200 OK');
      expect(text.endsWith('\r\n0\r\n\r\n')).toBe(false);
      await expect(client.response()).rejects.toThrow();
      await expect(sidekey.audited((line) => line.event === 'outcome')).resolves.toMatchObject({
        outcome: 'failed',
        status: 200,
      });
      await upstream.allClosed();
    },
  );

  test('by stalling is disconnected after upstream_idle', async () => {
    const { upstream, sidekey } = await grantedRaw(
      (socket) => onHeads(socket, () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart')),
      { config: { limits: { upstream_idle: '50ms' } } },
    );
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    expect(await client.ended()).toContain('part');
    await upstream.allClosed();
  });

  test('by exceeding its Content-Length has the excess dropped and its connection closed', async () => {
    const { upstream, sidekey } = await grantedRaw((socket) =>
      onHeads(socket, () => socket.write(`${ok}HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged`)),
    );
    const client = await openTunnel(sidekey, upstream.authority);
    for (let i = 0; i < 2; i += 1) {
      client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
      expect(await client.response()).toMatchObject({ status: 200, body: 'ok' });
    }
    expect(upstream.connections()).toBe(2);
    expect(client.received()).toBe('');
  });
});

describe('an upstream that responds before the end of the request', () => {
  test('has its response forwarded, and the rest of the request body is discarded', async () => {
    const { upstream, sidekey } = await granted((_request, response) => {
      response.writeHead(413).end('too much');
    });
    const client = await openTunnel(sidekey, upstream.authority);
    const size = 8_000_000;
    client.send(`POST / HTTP/1.1\r\nHost: ${upstream.authority}\r\nContent-Length: ${size}\r\n\r\n`);
    const half = 'x'.repeat(size / 2);
    client.send(half);
    expect(await client.response()).toMatchObject({ status: 413, body: 'too much' });
    // A client that sends all before it reads is not left hanging; the connection goes on.
    client.send(half);
    client.send(`POST / HTTP/1.1\r\nHost: ${upstream.authority}\r\nContent-Length: 1\r\n\r\nx`);
    expect(await client.response()).toMatchObject({ status: 413 });
    await upstream.allClosed();
  });
});

describe('an upstream that cannot be reached', () => {
  test('is reported as unreachable', async () => {
    const { upstream, sidekey } = await granted((_request, response) => response.end());
    await upstream.close();
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    expect(await client.response()).toMatchObject({ status: 502, reason: 'upstream_unreachable' });
  });

  test('is reported after upstream_connect if it does not answer', async () => {
    // The server accepts connections, and never answers the TLS handshake.

    const server = createServer((socket) => socket.resume().on('error', () => {}));
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve);
    });
    const { port } = server.address() as { port: number };
    const authority = `api.acme.test:${port}`;
    const sidekey = await startSidekey({
      domains: { [authority]: { grant: 'acme' } },
      config: { limits: { upstream_connect: '100ms' } },
    });
    await sidekey.grant([authority]);
    const client = await openTunnel(sidekey, authority);
    client.send(`GET / HTTP/1.1\r\nHost: ${authority}\r\n\r\n`);
    expect(await client.response()).toMatchObject({ status: 504, reason: 'upstream_timeout' });
    await new Promise((resolve) => server.close(resolve));
  });
});
