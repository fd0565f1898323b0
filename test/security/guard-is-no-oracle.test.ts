/**
 * An agent that has its own guesses repeated by the service: no answer may tell it that a guess is the
 * beginning of the credential, neither by what is masked nor by what is held back.
 */
import { createHash } from 'node:crypto';
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { describe, expect, test } from 'vitest';
import { grantedTo, onHeads, type Granted } from '../support/granted.ts';
import { ask, onlyH2, openSession } from '../support/h2-client.ts';
import { startPlaceholderProxy } from '../support/placeholder-proxy.ts';
import { openTunnel, problemOf } from '../support/raw-client.ts';
import { bearerToken } from '../support/sidekey.ts';
import { startH2Upstream, startRawUpstream, startUpstream, type Upstream } from '../support/upstream.ts';

const digits = (text: string) => Array.from(text, (one) => one.charCodeAt(0).toString(16)).join('');
const base64 = (text: string) => Buffer.from(text).toString('base64').replace(/=+$/, '');

/**
 * Each beginning of the credential but the whole, with a right and a wrong character behind it, in three
 * writings.
 */
const guesses = Array.from({ length: bearerToken.length - 1 }, (_, length) => bearerToken.slice(0, length))
  .flatMap((known) => [`${known}${bearerToken[known.length]}`, `${known}~`])
  .flatMap((guess) => [guess, digits(guess), base64(guess)])
  .filter((guess) => guess.length >= 4);

/** Repeats the guess where services do. */
const repeating: RequestListener = (request, response) => {
  const guess = String(request.headers['x-request-id'] ?? '');
  const isForbidden = request.headers.origin !== undefined;
  response.writeHead(isForbidden ? 403 : request.url === '/fine' ? 200 : 404, {
    'X-Request-Id': guess,
    ...(isForbidden ? { 'Access-Control-Allow-Origin': request.headers.origin } : {}),
  });
  response.end(`There is no ${request.url}`);
};

const ways: readonly (readonly [
  string,
  string | null,
  (guess: string) => [string, Record<string, string>],
])[] = [
  ['X-Request-Id in a 404', null, (guess) => ['/', { 'x-request-id': guess }]],
  ['Origin in a 403', null, (guess) => ['/', { origin: `https://${guess}` }]],
  ['the path at the end of a 404 page', null, (guess) => [`/${guess}`, {}]],
  ['a field of a 200 under redact', 'redact', (guess) => ['/fine', { 'x-request-id': guess }]],
  ['a field of a 200 under refuse', 'refuse', (guess) => ['/fine', { 'x-request-id': guess }]],
];

function room(upstream: Upstream, guard: string | null): Promise<Granted> {
  const setting = guard === null ? {} : { leak_guard: guard };
  return grantedTo(upstream, { domains: { [upstream.authority]: { grant: 'acme', ...setting } } });
}

describe.each(ways)(
  '%s is returned unchanged, even if it matches the beginning of the credential',
  (_, guard, asking) => {
    const expectRepeated = (guess: string, headers: Readonly<Record<string, unknown>>, body: string) => {
      const [path, fields] = asking(guess);
      expect(body).toBe(`There is no ${path}`);
      if (fields['x-request-id'] !== undefined) expect(headers['x-request-id']).toBe(guess);
      if (fields.origin !== undefined) expect(headers['access-control-allow-origin']).toBe(fields.origin);
    };

    test('over HTTP/1.1', async () => {
      const { sidekey, upstream } = await room(await startUpstream(repeating), guard);
      const client = await openTunnel(sidekey, upstream.authority);
      for (const guess of guesses) {
        const [path, fields] = asking(guess);
        const lines = Object.entries(fields).map(([name, value]) => `${name}: ${value}\r\n`);
        client.send(`GET ${path} HTTP/1.1\r\nHost: ${upstream.authority}\r\n${lines.join('')}\r\n`);
        const { headers, body } = await client.response();
        expectRepeated(guess, headers, body);
      }
    });

    test('over HTTP/2', async () => {
      const upstream = await startH2Upstream((request, response) =>
        repeating(request as unknown as IncomingMessage, response as unknown as ServerResponse),
      );
      const { sidekey } = await room(upstream, guard);
      const session = await openSession(sidekey, upstream.authority, {}, onlyH2);
      for (const guess of guesses) {
        const [path, fields] = asking(guess);
        const { headers, body } = await ask(session, { ':path': path, ...fields });
        expectRepeated(guess, headers, body);
      }
    });
  },
);

const chunk = (text: string) => `${text.length.toString(16)}\r\n${text}\r\n`;

/** The chunks that a client gets of a body that pauses behind a guess: `left` while it pauses, and all. */
async function chunksOf(guess: string): Promise<{ readonly left: string; readonly all: string }> {
  const paused = Promise.withResolvers<void>();
  const upstream = await startRawUpstream((socket) =>
    onHeads(socket, () => {
      socket.write(`HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\n${chunk(`begin ${guess}`)}`);
      void paused.promise.then(() => socket.write(`${chunk('!\n')}0\r\n\r\n`));
    }),
  );
  const { sidekey } = await room(upstream, null);
  const client = await openTunnel(sidekey, upstream.authority);
  client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\nConnection: close\r\n\r\n`);
  await client.until('begin ');
  const left = client.received().split('\r\n\r\n')[1]!;
  paused.resolve();
  const all = (await client.ended()).split(/\r\n\r\n(.*)/s)[1]!;
  return { left, all };
}

test('the bytes that the guard holds back do not depend on the credential', async () => {
  for (const length of [4, 8, 12, 20, bearerToken.length - 1]) {
    const right = bearerToken.slice(0, length);
    const wrong = `${right.slice(0, -1)}~`;
    const [one, other] = [await chunksOf(right), await chunksOf(wrong)];
    expect(one.left).toBe('6\r\nbegin \r\n');
    expect({ left: other.left, all: other.all.replaceAll(wrong, right) }).toEqual(one);
  }
});

test('a response that breaks off after a guess loses the whole guess, right or wrong', async () => {
  const upstream = await startRawUpstream((socket) =>
    onHeads(socket, (head) => {
      const guess = /x-guess: (.*)/i.exec(head)![1]!;
      socket.end(`HTTP/1.1 500 No\r\nContent-Length: 1000\r\n\r\nbegin ${guess}`);
    }),
  );
  const { sidekey } = await room(upstream, null);
  for (const guess of [bearerToken.slice(0, 20), 'x'.repeat(20)]) {
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\nX-Guess: ${guess}\r\n\r\n`);
    expect((await client.ended()).split('\r\n\r\n')[1]).toBe('begin ');
  }
});

const showing: RequestListener = (request, response) =>
  void response.writeHead(request.url === '/fine' ? 200 : 401).end(String(request.headers.authorization));

async function statuses({ sidekey, upstream }: Granted, paths: readonly string[]): Promise<number[]> {
  const client = await openTunnel(sidekey, upstream.authority);
  const all: number[] = [];
  for (const path of paths) {
    client.send(`GET ${path} HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    const answer = await client.response();
    all.push(answer.status);
    expect(answer.body).not.toContain(bearerToken);
  }
  return all;
}

describe('responses that repeat the credential many times', () => {
  test('end the access of the agent to the grant, and a person is notified', async () => {
    let now = Date.now();
    const upstream = await startUpstream(showing);
    const domains = { [upstream.authority]: { grant: 'acme', leak_limit: 2 } };
    const granted = await grantedTo(upstream, { domains, now: () => now });
    expect(await statuses(granted, ['/', '/', '/'])).toEqual([401, 401, 401]);
    const told = await granted.sidekey.audited(({ event }) => event === 'leak.limited');
    expect(told).toMatchObject({
      outcome: 'deny',
      code: 'too_many_leaks',
      host: upstream.authority.split(':')[0],
    });
    const client = await openTunnel(granted.sidekey, upstream.authority);
    client.send(`GET /fine HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    const refused = await client.response();
    expect([refused.status, problemOf(refused).code]).toEqual([403, 'too_many_leaks']);
    expect(Number(refused.headers['retry-after'])).toBeGreaterThan(0);
    expect(granted.sidekey.logged()).toContain('too often');
    now += 3_600_000;
    expect(await statuses(granted, ['/'])).toEqual([401]);
  });
});

const frame = (first: number, payload: string) =>
  Buffer.from([first, payload.length, ...Buffer.from(payload)]);

/** The bytes that the client has of an incomplete message, and of the complete one. */
async function heard(guess: string): Promise<{ readonly left: string; readonly all: string }> {
  const setup = await startPlaceholderProxy({ placeholders: ['websocket'] });
  const { authority, server } = setup.api;
  const paused = Promise.withResolvers<void>();
  server.on('upgrade', ({ headers }: IncomingMessage, socket: Duplex) => {
    const key = `${headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`;
    const accept = createHash('sha1').update(key).digest('base64');
    socket.on('error', () => {});
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
    );
    socket.write(frame(0x01, `begin ${guess}`));
    void paused.promise.then(() => socket.end(Buffer.concat([frame(0x80, 'end'), frame(0x88, '')])));
  });
  const client = await openTunnel(setup.sidekey, authority);
  client.send(
    `GET / HTTP/1.1\r\nHost: ${authority}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n`,
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n',
  );
  await client.until('begin ');
  const left = client.received().split('\r\n\r\n')[1]!;
  paused.resolve();
  const all = (await client.until('end')).split('\r\n\r\n')[1]!;
  client.socket.destroy();
  return { left, all };
}

describe('a WebSocket server that repeats guesses', () => {
  test.each([4, 12, bearerToken.length - 1])(
    'does not reveal whether %i guessed characters are right',
    async (length) => {
      const right = bearerToken.slice(0, length);
      const wrong = `${right.slice(0, -1)}~`;
      const [one, other] = [await heard(right), await heard(wrong)];
      expect(one.all).toContain(right);
      expect({ left: other.left, all: other.all.replace(wrong, right) }).toEqual(one);
    },
  );
});
