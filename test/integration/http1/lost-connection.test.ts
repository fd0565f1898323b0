/** A kept connection ends without a byte of an answer: the request is repeated once, if that does no harm. */
import type { TLSSocket } from 'node:tls';
import { describe, expect, test } from 'vitest';
import { grantedRaw } from '../../support/granted.ts';
import { openTunnel } from '../../support/raw-client.ts';
import { lostRequests } from './exchange-table.ts';

const ok = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

/** Answers a GET of / on each connection. Ends a connection at the first bytes of any other request. */
async function started(ends: (socket: TLSSocket, seen: number) => boolean) {
  const seen: string[] = [];
  const { upstream, sidekey } = await grantedRaw((socket) => {
    let text = '';
    socket.on('data', (piece: Buffer) => {
      if (socket.destroyed) return;
      const isNew = text === '';
      text += piece.toString('latin1');
      const [line = ''] = text.split('\r\n', 1);
      if (isNew) seen.push(line);
      if (line !== 'GET / HTTP/1.1' && ends(socket, seen.length)) {
        socket.destroy();
        return;
      }
      const head = text.indexOf('\r\n\r\n');
      const length = Number(/^content-length: ([0-9]+)/im.exec(text)?.[1] ?? 0);
      if (head < 0 || text.length < head + 4 + length) return;
      text = '';
      socket.write(line.startsWith('HEAD') ? 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n' : ok);
    });
  });
  const client = await openTunnel(sidekey, upstream.authority);
  const host = `Host: ${upstream.authority}\r\n`;
  const send = (method: string, path: string, fields = '', body?: number) =>
    client.send(
      `${method} ${path} HTTP/1.1\r\n${host}${fields}${body === undefined ? '' : `Content-Length: ${body}\r\n`}\r\n`,
      'x'.repeat(body ?? 0),
    );
  return { upstream, client, send, seen };
}

describe('on a kept connection that ends without an answer', () => {
  test.each(lostRequests)('$what: repeated: $isRepeated', async ({ method, fields, body, isRepeated }) => {
    const { upstream, client, send, seen } = await started((_socket, count) => count === 2);
    send('GET', '/');
    expect(await client.response()).toMatchObject({ status: 200 });
    send(method, '/work', fields, body);
    const answer = await client.response(method);
    expect(answer).toMatchObject(
      isRepeated ? { status: 200 } : { status: 502, reason: 'upstream_unreachable' },
    );
    const line = `${method} /work HTTP/1.1`;
    expect(seen.slice(1)).toEqual(isRepeated ? [line, line] : [line]);
    expect(upstream.connections()).toBe(isRepeated ? 2 : 1);
  });

  test('a request is not repeated more than once', async () => {
    const { client, send, seen } = await started(() => true);
    send('GET', '/');
    await client.response();
    send('PUT', '/work', '', 10);
    expect(await client.response()).toMatchObject({ status: 502 });
    expect(seen).toHaveLength(3);
  });

  test('a request is not repeated after the first byte of an answer', async () => {
    const { client, send, seen } = await started((socket) => {
      socket.write('H');
      return true;
    });
    send('GET', '/');
    await client.response();
    send('PUT', '/work', '', 10);
    expect(await client.response()).toMatchObject({ status: 502, reason: 'upstream_protocol' });
    expect(seen).toHaveLength(2);
  });
});

test.each(['PUT', 'DELETE'])('a %s on a new connection is not repeated', async (method) => {
  const { client, send, seen } = await started(() => true);
  send(method, '/work', '', 10);
  expect(await client.response()).toMatchObject({ status: 502, reason: 'upstream_unreachable' });
  expect(seen).toHaveLength(1);
});
