import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { describe, expect, test } from 'vitest';
import { granted } from '../../support/granted.ts';
import { openTunnel } from '../../support/raw-client.ts';

const turn = () => new Promise((resolve) => setImmediate(resolve));
const megabyte = Buffer.alloc(1024 * 1024, 'x');

/** Bytes of a body that no system holds in its sockets. */
const endless = 1024 * megabyte.length;

/**
 * Writes until the stream has been unwilling for good: all buffers on the way are full. Says how many bytes
 * it took; the sockets on the way hold as much as the system likes.
 */
async function fillUp(stream: { write(chunk: Buffer): boolean; writableLength: number }): Promise<number> {
  let written = 0;
  let stuck = 0;
  let pending = -1;
  while (stuck < 200 && written < endless) {
    if (stream.writableLength < megabyte.length) {
      stream.write(megabyte);
      written += megabyte.length;
    }
    await turn();
    stuck = stream.writableLength === pending ? stuck + 1 : 0;
    pending = stream.writableLength;
  }
  return written;
}

describe('bodies', () => {
  test('of responses are streamed: the first byte arrives before the upstream ends the response', async () => {
    let response: ServerResponse | undefined;
    const { upstream, sidekey } = await granted((_request, it) => {
      response = it;
      it.flushHeaders();
    });
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    await client.until('\r\n\r\n');
    response?.write('data: 1\n\n');
    await client.until('data: 1');
    response?.write('data: 2\n\n');
    await client.until('data: 2');
    response?.end();
    expect(await client.response()).toMatchObject({ status: 200, body: 'data: 1\n\ndata: 2\n\n' });
  });

  test('of requests are streamed: the first byte arrives before the client ends the request', async () => {
    const seen = Promise.withResolvers<string>();
    const { upstream, sidekey } = await granted((request, response) => {
      request.once('data', (chunk: Buffer) => seen.resolve(chunk.toString()));
      request.on('end', () => response.end('ok'));
    });
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(
      `POST / HTTP/1.1\r\nHost: ${upstream.authority}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n`,
    );
    expect(await seen.promise).toBe('first');
    client.send('4\r\nlast\r\n0\r\n\r\n');
    expect(await client.response()).toMatchObject({ status: 200, body: 'ok' });
  });

  test('of responses wait for a client that stops reading, and arrive complete', async () => {
    const begun = Promise.withResolvers<ServerResponse>();
    const { upstream, sidekey } = await granted((_request, response) => {
      response.writeHead(200, { 'content-length': endless });
      begun.resolve(response);
    });
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    client.socket.pause();
    const response = await begun.promise;
    expect(await fillUp(response)).toBeLessThan(endless);
    client.socket.destroy();
    await upstream.allClosed();
  });

  test('of requests time out after upstream_head if the upstream stops reading', async () => {
    const { upstream, sidekey } = await granted((request) => void request.pause(), {
      config: { limits: { upstream_head: '2s' } },
    });
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(`POST / HTTP/1.1\r\nHost: ${upstream.authority}\r\nContent-Length: ${endless}\r\n\r\n`);
    expect(await fillUp(client.socket)).toBeLessThan(endless);
    expect(await client.response()).toMatchObject({ status: 504, reason: 'upstream_timeout' });
  });

  test(
    'of 192 MB in each direction arrive complete without growth of memory',
    { timeout: 60_000 },
    async () => {
      const chunks = 192;
      let received = 0;
      const answer = async (request: IncomingMessage, response: ServerResponse) => {
        for await (const chunk of request) received += (chunk as Buffer).length;
        response.writeHead(200, { 'content-length': chunks * megabyte.length });
        for (let i = 0; i < chunks; i += 1) if (!response.write(megabyte)) await once(response, 'drain');
        response.end();
      };
      const { upstream, sidekey } = await granted((request, response) => void answer(request, response));
      const client = await openTunnel(sidekey, upstream.authority);
      client.socket.removeAllListeners('data');
      let bytes = 0;
      let most = 0;
      const before = process.memoryUsage().rss;
      const done = new Promise<void>((resolve) => {
        client.socket.on('data', (chunk: Buffer) => {
          bytes += chunk.length;
          most = Math.max(most, process.memoryUsage.rss());
          if (bytes > chunks * megabyte.length) resolve();
        });
      });
      client.send(
        `POST / HTTP/1.1\r\nHost: ${upstream.authority}\r\nContent-Length: ${chunks * megabyte.length}\r\n\r\n`,
      );
      for (let i = 0; i < chunks; i += 1) {
        if (!client.socket.write(megabyte)) await once(client.socket, 'drain');
        most = Math.max(most, process.memoryUsage.rss());
      }
      await done;
      expect(received).toBe(chunks * megabyte.length);
      // Everything lives in this one process, garbage included; a body held anywhere would be 192 MB more.
      expect(most - before).toBeLessThan(150 * megabyte.length);
      const outcome = await sidekey.audited((line) => line.event === 'outcome');
      expect(outcome).toMatchObject({ bytes_in: received, bytes_out: received, outcome: 'ok' });
    },
  );
});
