import { describe, expect, test } from 'vitest';
import { granted, grantedRaw, onHeads } from '../../support/granted.ts';
import { openClient, openTunnel } from '../../support/raw-client.ts';
import { startPlainUpstream } from '../../support/upstream.ts';
import { startSidekey } from '../../support/sidekey.ts';

interface Seen {
  readonly method: string;
  readonly url: string;
  readonly length: string | undefined;
  readonly coding: string | undefined;
  readonly body: string;
}

async function collecting() {
  const seen: Seen[] = [];
  const setup = await granted((request, response) => {
    let body = '';
    request.setEncoding('latin1').on('data', (text: string) => (body += text));
    request.on('end', () => {
      const { method = '', url = '', headers } = request;
      seen.push({
        method,
        url,
        length: headers['content-length'],
        coding: headers['transfer-encoding'],
        body,
      });
      response.end('ok');
    });
  });
  const client = await openTunnel(setup.sidekey, setup.upstream.authority);
  const host = `Host: ${setup.upstream.authority}\r\n`;
  return { ...setup, seen, client, host };
}

describe('the framing of a request', () => {
  test.each([
    ['a POST with a length', 'POST', 'Content-Length: 5\r\n\r\nhello', '5', undefined, 'hello'],
    [
      'a chunked POST',
      'POST',
      'Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n',
      undefined,
      'chunked',
      'hello',
    ],
    ['an empty POST', 'POST', 'Content-Length: 0\r\n\r\n', '0', undefined, ''],
    ['a POST that announces nothing', 'POST', '\r\n', undefined, undefined, ''],
    [
      'an empty chunked POST',
      'POST',
      'Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
      undefined,
      'chunked',
      '',
    ],
    ['a GET with a body', 'GET', 'Content-Length: 5\r\n\r\nhello', '5', undefined, 'hello'],
    ['a DELETE with a length', 'DELETE', 'Content-Length: 5\r\n\r\nhello', '5', undefined, 'hello'],
    ['an empty DELETE', 'DELETE', '\r\n', undefined, undefined, ''],
    [
      'a chunked DELETE',
      'DELETE',
      'Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n',
      undefined,
      'chunked',
      'hello',
    ],
    ['an empty chunked GET', 'GET', 'Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n', undefined, 'chunked', ''],
  ])('is preserved for %s', async (_name, method, rest, length, coding, body) => {
    const { client, host, seen } = await collecting();
    client.send(`${method} /x HTTP/1.1\r\n${host}${rest}`);
    expect(await client.response()).toMatchObject({ status: 200, body: 'ok' });
    expect(seen).toEqual([{ method, url: '/x', length, coding, body }]);
  });

  test('preserves trailers, announced or not, except trailers that would authenticate (RFC 9110 §6.5.1)', async () => {
    const got: (readonly string[])[] = [];
    const { upstream, sidekey } = await granted((request, response) => {
      request.resume().on('end', () => {
        got.push([request.headers.trailer ?? '', ...request.rawTrailers]);
        response.end('ok');
      });
    });
    const client = await openTunnel(sidekey, upstream.authority);
    const host = `Host: ${upstream.authority}\r\n`;
    const trailers = 'X-Sum: 7\r\nAuthorization: x\r\nDPoP: x\r\n';
    const rest = `Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n${trailers}\r\n`;
    client.send(`POST /x HTTP/1.1\r\n${host}${rest}`);
    expect(await client.response()).toMatchObject({ status: 200, body: 'ok' });
    client.send(`POST /y HTTP/1.1\r\n${host}Trailer: X-Sum\r\n${rest}`);
    expect(await client.response()).toMatchObject({ status: 200, body: 'ok' });
    expect(got).toEqual([
      ['', 'X-Sum', '7'],
      ['X-Sum', 'X-Sum', '7'],
    ]);
  });
});

describe('the framing of a response', () => {
  const bodies: [string, string, string][] = [
    ['a length', 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello', 'content-length: 5'],
    [
      'chunks',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n',
      'transfer-encoding: chunked',
    ],
    ['the end of its connection', 'HTTP/1.1 200 OK\r\n\r\nhello', 'transfer-encoding: chunked'],
    ['HTTP/1.0', 'HTTP/1.0 200 OK\r\n\r\nhello', 'transfer-encoding: chunked'],
  ];
  test.each(bodies)('by %s reaches the client complete', async (_name, bytes, framing) => {
    const { upstream, sidekey } = await grantedRaw((socket) => {
      onHeads(socket, () => socket.end(bytes));
    });
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    const answer = await client.response();
    expect(answer).toMatchObject({ status: 200, body: 'hello' });
    const [name = '', value] = framing.split(': ');
    expect(answer.headers[name]).toBe(value);
    await upstream.allClosed();
  });

  test.each(bodies)('by %s reaches an HTTP/1.0 client complete and without chunks', async (_name, bytes) => {
    const { upstream, sidekey } = await grantedRaw((socket) => {
      onHeads(socket, () => socket.end(bytes));
    });
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(`GET / HTTP/1.0\r\nHost: ${upstream.authority}\r\n\r\n`);
    const answer = await client.response();
    expect(answer).toMatchObject({ status: 200, body: 'hello' });
    expect(answer.headers['transfer-encoding']).toBeUndefined();
    expect(await client.ended()).toBe('');
  });

  test('keeps the connection of an HTTP/1.0 client open if requested and if the length is known', async () => {
    const { upstream, sidekey } = await grantedRaw((socket) => {
      onHeads(socket, () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'));
    });
    const client = await openTunnel(sidekey, upstream.authority);
    for (let i = 0; i < 2; i += 1) {
      client.send(`GET / HTTP/1.0\r\nHost: ${upstream.authority}\r\nConnection: keep-alive\r\n\r\n`);
      const answer = await client.response();
      expect(answer).toMatchObject({ status: 200, body: 'ok' });
      expect(answer.headers['connection']).toBe('keep-alive');
    }
  });

  test('forwards trailers, and the Trailer field that announces them', async () => {
    const { upstream, sidekey } = await grantedRaw((socket) => {
      onHeads(socket, () =>
        socket.write(
          'HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 7\r\nX-Sum: 8\r\n\r\n',
        ),
      );
    });
    const client = await openTunnel(sidekey, upstream.authority);
    for (let i = 0; i < 2; i += 1) {
      client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
      const answer = await client.response();
      expect(answer).toMatchObject({ status: 200, body: 'ok', trailers: ['X-Sum: 7', 'X-Sum: 8'] });
      expect(answer.headers['trailer']).toBe('X-Sum');
    }
  });

  test.each([
    ['a HEAD', 'HEAD', '1.1', 'HTTP/1.1 200 OK\r\nTrailer: X\r\nTransfer-Encoding: chunked\r\n\r\n', 200],
    ['a 304', 'GET', '1.1', 'HTTP/1.1 304 Not Modified\r\nTrailer: X\r\n\r\n', 304],
    ['a 204', 'GET', '1.1', 'HTTP/1.1 204 No Content\r\nTrailer: X\r\n\r\n', 204],
    ['a length', 'GET', '1.1', 'HTTP/1.1 200 OK\r\nTrailer: X\r\nContent-Length: 0\r\n\r\n', 200],
    [
      'HTTP/1.0',
      'GET',
      '1.0',
      'HTTP/1.1 200 OK\r\nTrailer: X\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: 1\r\n\r\n',
      200,
    ],
  ])(
    'does not announce trailers for a response without trailers: %s',
    async (_name, method, version, bytes, status) => {
      const { upstream, sidekey } = await grantedRaw((socket) => {
        onHeads(socket, () => socket.write(bytes));
      });
      const client = await openTunnel(sidekey, upstream.authority);
      client.send(`${method} / HTTP/${version}\r\nHost: ${upstream.authority}\r\n\r\n`);
      const answer = await client.response(method);
      expect(answer.status).toBe(status);
      expect(answer.headers['trailer']).toBeUndefined();
    },
  );

  test.each([
    [
      'HEAD',
      'HEAD',
      'HTTP/1.1 200 OK\r\nContent-Length: 1234\r\nX: 1\r\n\r\n',
      { 'content-length': '1234', x: '1' },
    ],
    ['204', 'GET', 'HTTP/1.1 204 No Content\r\nX: 1\r\n\r\n', { x: '1' }],
    ['304', 'GET', 'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\nContent-Length: 99\r\n\r\n', { etag: '"a"' }],
  ])('to %s has fields and no body, and the connection stays open', async (_name, method, bytes, fields) => {
    const { upstream, sidekey } = await grantedRaw((socket) => {
      onHeads(socket, () => socket.write(bytes));
    });
    const client = await openTunnel(sidekey, upstream.authority);
    for (let i = 0; i < 2; i += 1) {
      client.send(`${method} / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
      const answer = await client.response(method);
      expect(answer.headers).toMatchObject(fields);
      expect(answer.headers['transfer-encoding']).toBeUndefined();
      expect(client.received()).toBe('');
    }
  });

  test('by the proxy to a refused HEAD has no body, and the connection stays open', async () => {
    const upstream = await startPlainUpstream((_request, response) => response.end('ok'));
    const sidekey = await startSidekey({ domains: { [upstream.authority]: 'tunnel' } });
    const client = await openClient(sidekey);
    client.send('HEAD http://other.test/ HTTP/1.1\r\nHost: other.test\r\n\r\n');
    expect(await client.response('HEAD')).toMatchObject({ status: 403 });
    client.send(`GET ${upstream.url}/ HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    expect(await client.response()).toMatchObject({ status: 200, body: 'ok' });
  });
});
