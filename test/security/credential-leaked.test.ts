/**
 * Upstreams that show the credential of a request in their answers: what becomes of it on the way to the
 * client.
 */
import type { RequestListener } from 'node:http';
import { brotliCompressSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { grantedTo, onHeads, type Granted } from '../support/granted.ts';
import { ask, onlyH2, openSession } from '../support/h2-client.ts';
import { openTunnel, problemOf, type RawResponse } from '../support/raw-client.ts';
import { bearerToken } from '../support/sidekey.ts';
import { startH2Upstream, startRawUpstream, startUpstream, type Upstream } from '../support/upstream.ts';

const masked = '*'.repeat(bearerToken.length);

const chunk = (text: string) => `${text.length.toString(16)}\r\n${text}\r\n`;

function guardedTo(upstream: Upstream, guard: string | null, more: object = {}): Promise<Granted> {
  const setting = guard === null ? {} : { leak_guard: guard };
  return grantedTo(upstream, { domains: { [upstream.authority]: { grant: 'acme', ...setting, ...more } } });
}

const guarded = async (guard: string | null, listener: RequestListener) =>
  guardedTo(await startUpstream(listener), guard);

async function get({ sidekey, upstream }: Granted, path = '/', more = ''): Promise<RawResponse> {
  const client = await openTunnel(sidekey, upstream.authority);
  client.send(`GET ${path} HTTP/1.1\r\nHost: ${upstream.authority}\r\n${more}\r\n`);
  return client.response();
}

/** Says all that it was sent. */
const mirror =
  (status = 200): RequestListener =>
  (request, response) => {
    response.writeHead(status, {
      'Content-Type': 'application/json',
      'X-Seen': request.headers.authorization,
    });
    response.end(JSON.stringify({ headers: request.headers, url: request.url }));
  };

describe('without a leak_guard setting', () => {
  test.each([400, 401, 404, 500, 503])(
    'an error page of status %i contains no credential',
    async (status) => {
      const room = await guarded(null, mirror(status));
      const answer = await get(room);
      expect(answer.status).toBe(status);
      expect(answer.headers['x-seen']).toBe(`Bearer ${masked}`);
      expect(JSON.parse(answer.body)).toMatchObject({ headers: { authorization: `Bearer ${masked}` } });
      const outcome = await room.sidekey.audited(({ event }) => event === 'outcome');
      expect(outcome).toMatchObject({ status, outcome: 'ok', leaks: 2 });
      expect(room.sidekey.logged()).toContain('showed the credential');
      expect(room.sidekey.logged()).not.toContain(bearerToken);
    },
  );

  test.each(['/headers', '/v1/anything/else?a=1', '/Debug', '/%68eaders', '/x;a/echo;b'])(
    'the response of a known echo path contains no credential: %s',
    async (path) => {
      const { body } = await get(await guarded(null, mirror()), path);
      expect(body).toContain(masked);
      expect(body).not.toContain(bearerToken);
    },
  );

  test('the response of an echo path of the provider contains no credential', async () => {
    const upstream = await startUpstream(mirror());
    const acme = { audience: [upstream.authority], echo_paths: ['/my/request'] };
    const room = await grantedTo(upstream, { config: { providers: { acme } } });
    expect((await get(room, '/v1/my/requests')).body).toContain(bearerToken);
    expect((await get(room, '/v1/My/%72equest?x=1')).body).toContain(masked);
  });

  test('any other response is forwarded unchanged', async () => {
    const room = await guarded(null, mirror());
    const { body, headers } = await get(room, '/headersome');
    expect(headers['x-seen']).toBe(`Bearer ${bearerToken}`);
    expect(body).toContain(bearerToken);
    expect(await room.sidekey.audited(({ event }) => event === 'outcome')).not.toHaveProperty('leaks');
  });

  test('an error page in an unknown coding is refused', async () => {
    const room = await guarded(null, (_request, response) =>
      response.writeHead(500, { 'Content-Encoding': 'own' }).end('gibberish'),
    );
    const answer = await get(room);
    expect([answer.status, problemOf(answer).code]).toEqual([502, 'upstream_protocol']);
  });
});

test('error pages are forwarded unchanged if the guard is off', async () => {
  expect((await get(await guarded('off', mirror(500)))).body).toContain(bearerToken);
});

describe('with leak_guard: redact', () => {
  test('a response is requested whole and uncompressed, and keeps its length', async () => {
    const room = await guarded('redact', (request, response) => {
      const body = Buffer.from(JSON.stringify(request.headers));
      response.writeHead(200, { 'Content-Length': body.length, ETag: '"1"' }).end(body);
    });
    const answer = await get(
      room,
      '/',
      'Accept-Encoding: gzip, br\r\nRange: bytes=0-3\r\nIf-Range: "1"\r\nA-IM: vcdiff\r\nAccept: */*\r\n',
    );
    const seen = JSON.parse(answer.body) as Record<string, string>;
    expect(seen).toMatchObject({
      'accept-encoding': 'identity',
      accept: '*/*',
      authorization: `Bearer ${masked}`,
    });
    expect(Object.keys(seen)).not.toEqual(expect.arrayContaining(['range']));
    expect(Object.keys(seen)).not.toEqual(expect.arrayContaining(['if-range']));
    expect(Object.keys(seen)).not.toEqual(expect.arrayContaining(['a-im']));
    expect(answer.headers).toMatchObject({ 'content-length': String(answer.body.length), etag: '"1"' });
  });

  test.each([
    ['gzip', gzipSync],
    ['br', brotliCompressSync],
    ['zstd', zstdCompressSync],
  ] as const)(
    'a response in %s, despite the request, arrives without the credential',
    async (coding, code) => {
      const room = await guarded('redact', (request, response) => {
        const coded = code(Buffer.from(`you sent ${request.headers.authorization}, did you not?`));
        response.writeHead(200, { 'Content-Encoding': coding, 'Content-Length': coded.length, ETag: '"1"' });
        response.end(coded);
      });
      const answer = await get(room);
      expect(answer.body).toBe(`you sent Bearer ${masked}, did you not?`);
      expect(answer.headers['content-encoding']).toBeUndefined();
      expect(answer.headers['content-length']).toBeUndefined();
      expect(answer.headers['etag']).toBe('W/"1"');
    },
  );

  test('a response with incomplete compressed data is cut, and the audit log has the reason', async () => {
    const room = await guarded('redact', (_request, response) => {
      const coded = gzipSync(`${'a'.repeat(200_000)}${bearerToken}`);
      response.writeHead(200, { 'Content-Encoding': 'gzip' });
      response.end(coded.subarray(0, -12));
    });
    const client = await openTunnel(room.sidekey, room.upstream.authority);
    client.send(`GET / HTTP/1.1\r\nHost: ${room.upstream.authority}\r\n\r\n`);
    await client.ended();
    expect(client.received()).not.toContain('\r\n0\r\n\r\n');
    const outcome = await room.sidekey.audited(({ event }) => event === 'outcome');
    expect(outcome).toMatchObject({ outcome: 'aborted', code: 'upstream_protocol' });
  });

  test('a partial response is refused', async () => {
    const room = await guarded('redact', (_request, response) =>
      response.writeHead(206, { 'Content-Range': 'bytes 0-3/9' }).end('abcd'),
    );
    const answer = await get(room);
    expect([answer.status, problemOf(answer).code]).toEqual([502, 'upstream_protocol']);
  });

  test('chunks, interim heads, the reason phrase, names and trailers contain no credential', async () => {
    const cut = 12;
    const upstream = await startRawUpstream((socket) =>
      onHeads(socket, () => {
        socket.write(
          `HTTP/1.1 103 Early Hints\r\nLink: <${bearerToken}>\r\n\r\n` +
            `HTTP/1.1 200 ${bearerToken}\r\n${bearerToken}: 1\r\nX-A: ${bearerToken}\r\n` +
            `Trailer: x-end\r\nTransfer-Encoding: chunked\r\n\r\n` +
            chunk(`begin ${bearerToken.slice(0, cut)}`) +
            chunk(`${bearerToken.slice(cut)} end`) +
            `0\r\nx-end: ${bearerToken}\r\n\r\n`,
        );
      }),
    );
    const room = await guardedTo(upstream, 'redact');
    const client = await openTunnel(room.sidekey, upstream.authority);
    client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\nConnection: close\r\n\r\n`);
    await client.ended();
    expect(client.received()).not.toContain(bearerToken.slice(cut));
    expect(client.received()).not.toContain(bearerToken.slice(0, cut));
    expect(client.received()).toContain(`Link: <${masked}>`);
    expect(client.received()).toContain(`x-end: ${masked}`);
  });

  test.each([
    [
      'in chunks',
      (begin: string, rest: string) =>
        `X: a\nTransfer-Encoding: chunked\n\n${chunk(begin)}${chunk(rest)}0\n\n`,
    ],
    [
      'in chunks with sizes in blanks',
      (begin: string, rest: string) =>
        `Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n${[begin, rest].map((text) => chunk(text).replace('\r', ' ; a\r')).join('')}0 \r\n\r\n`,
    ],
    [
      'with a length',
      (begin: string, rest: string) => `Content-Length : ${(begin + rest).length}\n\n${begin}${rest}`,
    ],
    ['until its end', (begin: string, rest: string) => `X: a\r\n b\r\n\r\n${begin}${rest}`],
    ['as a field', (begin: string, rest: string) => `X : ${begin}${rest}\nContent-Length: 0\n\n`],
    ['as a folded field', (begin: string, rest: string) => `X:\n ${begin}${rest}\nContent-Length: 0\n\n`],
    [
      'as a trailer',
      (begin: string, rest: string) => `Transfer-Encoding: chunked\r\n\r\n0\nX : ${begin}${rest}\n\n`,
    ],
  ])('a malformed response that is repaired contains no credential %s', async (_where, rest) => {
    const text = `HTTP/1.1 200 OK\r\n${rest(bearerToken.slice(0, 12), bearerToken.slice(12))}`;
    const upstream = await startRawUpstream((socket) => onHeads(socket, () => void socket.end(text)));
    const room = await guardedTo(upstream, 'redact');
    const client = await openTunnel(room.sidekey, upstream.authority);
    client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\nConnection: close\r\n\r\n`);
    await client.ended();
    expect(client.received()).toMatch(/^HTTP\/1.1 200 OK/);
    expect(client.received().replaceAll(/\r\n[0-9a-f]+\r\n/g, '')).not.toContain(bearerToken.slice(12));
    expect(client.received().replaceAll(/\*\r\n[0-9a-f]+\r\n/g, '*')).toContain(masked);
  });

  test('an answer to HEAD and a 304 contain no credential and have no body', async () => {
    const room = await guarded('redact', (request, response) => {
      response.writeHead(request.method === 'HEAD' ? 200 : 304, {
        'X-Seen': request.headers.authorization,
        ...(request.method === 'HEAD' ? { 'Content-Length': '400' } : {}),
      });
      response.end();
    });
    const client = await openTunnel(room.sidekey, room.upstream.authority);
    client.send(`HEAD / HTTP/1.1\r\nHost: ${room.upstream.authority}\r\n\r\n`);
    const head = await client.response('HEAD');
    expect(head.headers).toMatchObject({ 'x-seen': `Bearer ${masked}`, 'content-length': '400' });
    client.send(`GET / HTTP/1.1\r\nHost: ${room.upstream.authority}\r\n\r\n`);
    expect(await client.response()).toMatchObject({ status: 304, headers: { 'x-seen': `Bearer ${masked}` } });
  });

  test('HTTP/2 fields, body and trailers contain no credential', async () => {
    const upstream = await startH2Upstream((request, response) => {
      const seen = String(request.headers['authorization']);
      response.writeHead(200, { 'x-seen': seen });
      response.write(`begin ${seen.slice(0, 20)}`, () => {
        response.addTrailers({ 'x-end': seen });
        response.end(`${seen.slice(20)} end`);
      });
    });
    const room = await guardedTo(upstream, 'redact');
    const session = await openSession(room.sidekey, upstream.authority, {}, onlyH2);
    const answer = await ask(session, {});
    expect(answer.headers['x-seen']).toBe(`Bearer ${masked}`);
    expect(answer.body).toBe(`begin Bearer ${masked} end`);
    expect(answer.trailers['x-end']).toBe(`Bearer ${masked}`);
    expect(answer).toMatchObject({ whole: true, code: 0 });
  });

  test('compressed gRPC messages are not requested, and are refused', async () => {
    const asked: unknown[] = [];
    const upstream = await startH2Upstream((request, response) => {
      asked.push(request.headers['grpc-accept-encoding']);
      response.writeHead(200, { 'content-type': 'application/grpc', 'grpc-encoding': 'gzip' }).end('x');
    });
    const room = await guardedTo(upstream, 'redact');
    const session = await openSession(room.sidekey, upstream.authority, {}, onlyH2);
    const answer = await ask(session, { 'grpc-accept-encoding': 'gzip' });
    expect([answer.status, asked]).toEqual([502, [undefined]]);
  });

  test('max_response limits the decoded bytes', async () => {
    const upstream = await startUpstream((_request, response) =>
      response.writeHead(200, { 'Content-Encoding': 'gzip' }).end(gzipSync('a'.repeat(100_000))),
    );
    const rules = [{ outcome: 'allow', max_response: '10KB' }];
    const room = await guardedTo(upstream, 'redact', { rules });
    const client = await openTunnel(room.sidekey, upstream.authority);
    client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    await client.ended();
    expect(client.received().length).toBeLessThan(20_000);
    expect(await room.sidekey.audited(({ event }) => event === 'outcome')).toMatchObject({
      code: 'rule_denied',
    });
  });

  test('a large body streams unchanged through a slow client', async () => {
    const plain = Buffer.alloc(3_000_000, 'The quick brown fox jumps over the lazy dog. ');
    const room = await guarded('redact', (_request, response) =>
      response.writeHead(200, { 'Content-Encoding': 'gzip' }).end(gzipSync(plain)),
    );
    const { body } = await get(room);
    expect(body.length).toBe(plain.length);
    expect(body === plain.toString()).toBe(true);
  });

  test('a WebSocket is refused before the handshake is sent', async () => {
    const room = await guarded('redact', (_request, response) => response.end('reached'));
    const answer = await get(
      room,
      '/',
      'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n',
    );
    expect([answer.status, problemOf(answer).code]).toEqual([403, 'policy_violation']);
    expect(room.upstream.connections()).toBe(0);
  });

  test('a credential that is too short for the guard is not sent', async () => {
    const upstream = await startUpstream((_request, response) => response.end('reached'));
    const room = await guardedTo(upstream, 'redact');
    await room.sidekey.proxy.state.grants.add(
      { name: 'tiny', user: 'default', provider: 'acme', scopes: [] },
      { credential: { type: 'api_key', value: 'short' }, audience: [upstream.authority] },
    );
    await room.sidekey.configure({
      domains: { [upstream.authority]: { grant: 'tiny', leak_guard: 'redact' } },
    });
    const answer = await get(room);
    expect([answer.status, problemOf(answer).code]).toEqual([403, 'policy_violation']);
    await room.sidekey.configure({ domains: { [upstream.authority]: { grant: 'tiny' } } });
    expect((await get(room)).body).toBe('reached');
  });
});

describe('with leak_guard: refuse', () => {
  test('a response with a leak is replaced by an error and recorded', async () => {
    const room = await guarded('refuse', mirror());
    const answer = await get(room);
    expect([answer.status, problemOf(answer).code]).toEqual([502, 'credential_leaked']);
    expect(JSON.stringify(answer)).not.toContain(bearerToken);
    const outcome = await room.sidekey.audited(({ event }) => event === 'outcome');
    expect(outcome).toMatchObject({ outcome: 'failed', code: 'credential_leaked', leaks: 1 });
  });

  test('a response with a late leak is cut before the leak', async () => {
    const room = await guarded('refuse', (request, response) => {
      response.write('fine so far');
      setImmediate(() => response.end(`and then ${request.headers.authorization}`));
    });
    const client = await openTunnel(room.sidekey, room.upstream.authority);
    client.send(`GET / HTTP/1.1\r\nHost: ${room.upstream.authority}\r\n\r\n`);
    await client.ended();
    expect(client.received()).not.toContain(bearerToken);
    const outcome = await room.sidekey.audited(({ event }) => event === 'outcome');
    expect(outcome.code).toBe('credential_leaked');
  });

  test('a response without a leak is forwarded', async () => {
    expect((await get(await guarded('refuse', (_request, response) => response.end('fine')))).body).toBe(
      'fine',
    );
  });
});

test('a 101 and a refused upgrade contain no credential in the head by default', async () => {
  const upgrading =
    'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n';
  const answers = [
    `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Protocol: ${bearerToken}\r\n\r\n`,
    `HTTP/1.1 403 No\r\nContent-Length: ${bearerToken.length}\r\n\r\n${bearerToken}`,
  ];
  const upstream = await startRawUpstream((socket) => onHeads(socket, () => socket.write(answers.shift()!)));
  const room = await guardedTo(upstream, null);
  const switched = await openTunnel(room.sidekey, upstream.authority);
  switched.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n${upgrading}\r\n`);
  await switched.until('\r\n\r\n');
  expect(switched.received()).toContain(`Sec-WebSocket-Protocol: ${masked}`);
  const refused = await get(room, '/', upgrading);
  expect(refused).toMatchObject({ status: 403, body: masked });
});
