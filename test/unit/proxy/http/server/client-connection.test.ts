import { once } from 'node:events';
import { Duplex } from 'node:stream';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { Reply } from '../../../../../src/proxy/http/message.ts';
import { refuse } from '../../../../../src/proxy/http/problem.ts';
import { ClientConnection, type Service } from '../../../../../src/proxy/http/server/h1-connection.ts';
import type { SidekeyError } from '../../../../../src/lib/errors.ts';
import type { Limits } from '../../../../../src/proxy/policy/limits.ts';
import { rawClient } from '../../../../support/raw-client.ts';
import { manualTime, settle } from '../../../lib/manual-time.ts';
import { socketPair } from '../../socket-pair.ts';
import { type ExchangeForTest as Exchange, serviceOf } from './service.ts';

/** A connection whose requests are answered as the test says, on a clock that the test moves. */
async function begun(
  exchange: Exchange,
  { limits = {}, ...more }: Partial<Omit<Service, 'limits'>> & { limits?: Partial<Limits> } = {},
) {
  const pair = await socketPair();
  onTestFinished(() => pair[Symbol.dispose]());
  const time = manualTime(0);
  const refused: { why: SidekeyError; answerable: boolean }[] = [];
  const base = serviceOf(exchange, { limited: limits, timers: time.timers, now: time.now, ...more });
  const service: Service = {
    ...base,
    refuse(why, from, answerable) {
      refused.push({ why, answerable });
      base.refuse(why, from, answerable);
    },
  };
  const client = { address: '127.0.0.1:1', loopback: true, owner: () => 'own' as const, tunnel: null };
  const connection = new ClientConnection(pair.near, client, service);
  return { ...pair, client: rawClient(pair.far), time, refused, connection };
}

function answer(reply: Reply, body: string): void {
  reply.head(200, 'OK', ['Content-Length', String(body.length)]);
  reply.write(Buffer.from(body));
  reply.end([]);
}

async function bytesOf(body: AsyncIterable<Buffer> | null): Promise<number> {
  let bytes = 0;
  for await (const piece of body ?? []) bytes += piece.length;
  return bytes;
}

/** Answers each request with its target, at once. */
const echo: Exchange = async ({ head }, reply) => answer(reply, head.target);
const get = (path: string, fields = '') => `GET ${path} HTTP/1.1\r\nHost: a\r\n${fields}\r\n`;

describe('requests of one connection', () => {
  it('are read the same at every split of their bytes', async () => {
    const seen: string[] = [];
    const { client } = await begun(async ({ head, body }, reply) => {
      let text = '';
      for await (const piece of body ?? []) text += piece.toString();
      seen.push(`${head.method} ${head.target} ${text}`);
      answer(reply, 'ok');
    });
    const bytes = `POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n${get('/2')}`;
    for (const byte of bytes) {
      client.send(byte);
      await new Promise((resolve) => setImmediate(resolve));
    }
    client.send(bytes);
    for (let i = 0; i < 4; i += 1) expect(await client.response()).toMatchObject({ body: 'ok' });
    expect(seen).toEqual(['POST /1 abcde', 'GET /2 ', 'POST /1 abcde', 'GET /2 ']);
  });

  it('are served in order, with a limit on pipelined bytes', async () => {
    const order: string[] = [];
    const first = Promise.withResolvers<void>();
    const { client, refused } = await begun(
      async ({ head }, reply) => {
        order.push(head.target);
        if (head.target === '/1') await first.promise;
        answer(reply, head.target);
      },
      { limits: { pipelined_requests: 3 } },
    );
    client.send(get('/1'), get('/2'), get('/3'));
    await settle();
    expect(order).toEqual(['/1']);
    first.resolve();
    for (const path of ['/1', '/2', '/3']) expect((await client.response()).body).toBe(path);
    client.send(get('/1'), get('/2'), get('/3'), get('/4'));
    expect(await client.ended()).not.toContain('/2');
    expect(refused).toMatchObject([{ why: { code: 'overloaded' }, answerable: false }]);
  });

  it('after one with Connection: close are not served', async () => {
    const asked: string[] = [];
    const { client, refused } = await begun(async ({ head }) => {
      asked.push(head.target);
      await new Promise(() => {});
    });
    client.send(get('/1', 'Connection: close\r\n'));
    await settle();
    client.send('\r\n');
    await settle();
    expect(refused).toEqual([]);
    client.send(get('/2'));
    expect(await client.ended()).toBe('');
    expect(asked).toEqual(['/1']);
    expect(refused).toMatchObject([{ why: { fault: 'bytes_behind_last' }, answerable: false }]);
  });

  it('that are malformed are refused if no exchange is in progress', async () => {
    const { client, refused } = await begun(echo);
    client.send(get('/1'));
    expect((await client.response()).body).toBe('/1');
    client.send('GET /2 HTTP/1.1\nHost: a\n\n', get('/3'));
    expect(await client.response()).toMatchObject({ status: 400, headers: { connection: 'close' } });
    expect(await client.ended()).toBe('');
    expect(refused).toMatchObject([{ why: { fault: 'bare_lf' }, answerable: true }]);
  });

  it('that are malformed cut the connection during a response', async () => {
    const { client } = await begun(async (_arrival, reply) => {
      reply.head(200, 'OK', []);
      reply.write(Buffer.from('part'));
      await new Promise(() => {});
    });
    client.send(get('/1'));
    await client.until('part');
    client.send('rubbish\r\n\r\n');
    expect(await client.ended()).not.toContain('400');
  });
});

describe('a time-out', () => {
  it('for a head is short, and not extended by slow bytes', async () => {
    const { client, time, refused } = await begun(echo, { limits: { head_timeout: 1_000 } });
    client.send('GET / HTTP/1.1\r\n');
    for (let i = 0; i < 9; i += 1) {
      await settle();
      await time.advance(100);
      client.send('X: 1\r\n');
    }
    await settle();
    expect(refused).toEqual([]);
    await time.advance(100);
    expect(await client.response()).toMatchObject({ status: 400, reason: 'bad_request' });
    expect(await client.ended()).toBe('');
  });

  it('for the first byte is short, and closes the connection without a response', async () => {
    const { client, time, refused } = await begun(echo, { limits: { head_timeout: 1_000 } });
    await time.advance(1_000);
    expect(await client.ended()).toBe('');
    expect(refused).toEqual([]);
  });

  it('between requests is a little longer than the announced keep-alive', async () => {
    const { client, time } = await begun(echo, { limits: { head_timeout: 10, client_idle: 60_000 } });
    client.send(get('/1'));
    expect((await client.response()).headers['keep-alive']).toBe('timeout=60');
    await time.advance(60_000);
    client.send(get('/2'));
    expect((await client.response()).body).toBe('/2');
    await time.advance(61_000);
    expect(await client.ended()).toBe('');
  });

  it('after a lone empty line closes the connection without a refusal', async () => {
    const { client, time, refused } = await begun(echo, { limits: { head_timeout: 1_000 } });
    client.send(get('/1'), '\r\n');
    await client.response();
    await time.advance(1_000);
    expect(await client.ended()).toBe('');
    expect(refused).toEqual([]);
  });

  it('for a body runs only while a reader waits', async () => {
    const { client, time } = await begun(
      async ({ head, body }, reply) => {
        try {
          await bytesOf(body);
        } catch (error) {
          refuse(reply, error, head.method);
        }
      },
      { limits: { client_body_idle: 1_000 } },
    );
    client.send('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n');
    for (const byte of ['a', 'b']) {
      await settle();
      await time.advance(999);
      client.send(byte);
    }
    await settle();
    await time.advance(1_000);
    const late = await client.response();
    expect([late.status, late.body]).toEqual([400, expect.stringContaining('came for 1 s')]);
    expect(await client.ended()).toBe('');
  });

  it('for an unread body is short, and the next request is served after it', async () => {
    const { client, time } = await begun(echo);
    client.send('POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na');
    expect((await client.response()).body).toBe('/1');
    await time.advance(4_000);
    client.send('bc', 'POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na');
    expect((await client.response()).body).toBe('/2');
    for (let i = 0; i < 5; i += 1) await time.advance(999);
    expect(client.socket.readableEnded).toBe(false);
    await time.advance(5);
    expect(await client.ended()).toBe('');
  });

  it('leaves no timer after the connection is closed', async () => {
    const { client, time, near } = await begun(echo);
    client.send(get('/1'));
    await client.response();
    client.socket.destroy();
    await once(near, 'close');
    expect(time.waiting()).toBe(0);
  });
});

describe('a half-close by the client', () => {
  it.each(['1.0', '1.1'])('does not cancel the response: HTTP/%s', async (version) => {
    const { client } = await begun(async (_arrival, reply) => {
      await settle();
      answer(reply, 'late');
    });
    client.socket.end(`GET / HTTP/${version}\r\nHost: a\r\n\r\n`);
    expect(await client.response()).toMatchObject({ body: 'late', headers: { connection: 'close' } });
    expect(await client.ended()).toBe('');
  });

  it('does not cancel pipelined requests or truncate a response', async () => {
    const { client } = await begun(async ({ head }, reply) => {
      await settle();
      answer(reply, head.target);
    });
    client.socket.end(get('/1') + get('/2'));
    expect((await client.response()).headers['connection']).toBe('keep-alive');
    expect(await client.response()).toMatchObject({ body: '/2', headers: { connection: 'close' } });
    expect(await client.ended()).toBe('');
  });

  it('in a head is reported', async () => {
    const { client } = await begun(echo);
    client.socket.end('GET / HTTP/1.1\r\nHos');
    expect(await client.response()).toMatchObject({ status: 400 });
    expect(await client.ended()).toBe('');
  });

  it('in a body makes the body incomplete', async () => {
    const outcome = Promise.withResolvers<unknown>();
    const { client } = await begun(async ({ body }, reply) => {
      try {
        await bytesOf(body);
        outcome.resolve('whole');
      } catch (error) {
        outcome.resolve(error);
      }
      expect(reply.gone.already).toBe(true);
      reply.abort();
    });
    client.socket.end('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab');
    expect(await outcome.promise).toMatchObject({ code: 'bad_request' });
    expect(await client.ended()).toBe('');
  });
});

describe('a response', () => {
  it('is sent in one write if it is written in one turn', async () => {
    const { client, near } = await begun(async (_arrival, reply) => {
      reply.head(200, 'OK', []);
      reply.write(Buffer.from('body'));
      reply.end([]);
    });
    let writes = 0;
    const write = near.write.bind(near) as (...all: unknown[]) => boolean;
    near.write = (...all: unknown[]) => {
      writes += 1;
      return write(...all);
    };
    client.send(get('/'));
    expect((await client.response()).body).toBe('body');
    expect(writes).toBe(1);
  });

  it('is subject to backpressure from the client', async () => {
    const drained = Promise.withResolvers<void>();
    const { client } = await begun(async (_arrival, reply) => {
      const piece = Buffer.alloc(65_536, 'x');
      reply.head(200, 'OK', []);
      while (reply.write(piece));
      reply.onDrain(drained.resolve);
      await drained.promise;
      reply.end(['X-Sum', '1']);
    });
    client.socket.pause();
    client.send(get('/'));
    await settle();
    client.socket.resume();
    await drained.promise;
    expect((await client.response()).trailers).toEqual(['X-Sum: 1']);
  });

  it.each([
    ['longer than its Content-Length', 'hello, GET'],
    ['shorter than its Content-Length', 'hel'],
  ])('that is %s is cut', async (_how, body) => {
    const { client } = await begun(async (_arrival, reply) => {
      reply.head(200, 'OK', ['Content-Length', '5']);
      reply.write(Buffer.from(body));
      reply.end([]);
    });
    client.send(get('/'));
    expect(await client.ended()).not.toContain(body.slice(5) || 'hello');
  });

  it('to HTTP/1.0 that is aborted resets the connection, since a FIN would mean complete', async () => {
    const { client } = await begun(async (_arrival, reply) => {
      reply.head(200, 'OK', []);
      reply.write(Buffer.from('part'));
      await settle();
      reply.abort();
    });
    const failed = once(client.socket, 'error') as Promise<[NodeJS.ErrnoException]>;
    client.send('GET / HTTP/1.0\r\n\r\n');
    expect((await failed)[0].code).toBe('ECONNRESET');
  });

  it('cannot be split by a field with a line break', async () => {
    const { client } = await begun(async ({ head }, reply) => {
      try {
        reply.head(200, 'OK', ['X', 'a\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK']);
      } catch (error) {
        refuse(reply, error, head.method);
      }
    });
    client.send(get('/'));
    expect(await client.response()).toMatchObject({ status: 403, reason: 'policy_violation' });
    expect(client.received()).toBe('');
  });

  it('that is never written closes the connection', async () => {
    const { client } = await begun(() => Promise.resolve());
    client.send(get('/'));
    expect(await client.ended()).toBe('');
  });

  it('to a client that never receives its 100 Continue is the last on its connection', async () => {
    const { client } = await begun(async (_arrival, reply) => answer(reply, 'no'));
    client.send('POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n');
    expect(await client.response()).toMatchObject({ body: 'no', headers: { connection: 'close' } });
    expect(await client.ended()).toBe('');
  });
});

describe('a client that does not read its responses', () => {
  it('has a limit on pending responses', async () => {
    const big = Buffer.alloc(100_000, 'x');
    let answered = 0;
    const exchange: Exchange = async (_arrival, reply) => {
      answered += 1;
      reply.head(200, 'OK', ['Content-Length', String(big.length)]);
      reply.write(big);
      reply.end([]);
    };
    // A socket holds as much as its system likes; this one takes nothing of what it is given.
    const near = new Duplex({ read() {}, write() {} });
    const client = { address: '127.0.0.1:1', loopback: true, owner: () => 'own' as const, tunnel: null };
    const service = serviceOf(exchange, { limited: { pipelined_requests: 1_000 } });
    const connection = new ClientConnection(near, client, service);
    onTestFinished(() => void near.destroy());
    near.push(get('/').repeat(400));
    await settle();
    expect(connection).toBeDefined();
    // 128 KB, and the answer that goes beyond.
    expect(answered).toBe(2);
    expect(near.destroyed).toBe(false);
  });

  it('is not read from while its earlier requests are pending', async () => {
    const { client, near } = await begun(async () => new Promise(() => {}));
    client.send(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${1 << 30}\r\n\r\n`);
    const piece = Buffer.alloc(1 << 20);
    for (let i = 0; i < 50; i += 1) {
      client.socket.write(piece);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(near.isPaused()).toBe(true);
    expect(near.bytesRead).toBeLessThan(300_000);
  });
});

describe('an upgraded request', () => {
  it('receives the socket with all bytes after the request, unread', async () => {
    const taken = Promise.withResolvers<[Duplex, string]>();
    const { client, time } = await begun(echo, {
      takeOver: (_head, { socket }, early) => taken.resolve([socket, early.toString()]),
    });
    client.send('CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\nearly');
    const [socket, early] = await taken.promise;
    expect(early).toBe('early');
    expect(time.waiting()).toBe(0);
    client.send(' late');
    const [late] = (await once(socket.resume(), 'data')) as [Buffer];
    expect(late.toString()).toBe(' late');
  });

  it('after an unanswered request is not upgraded', async () => {
    const { client, refused } = await begun(async () => new Promise(() => {}));
    client.send(get('/'), 'CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n');
    expect(await client.ended()).toBe('');
    expect(refused).toMatchObject([{ answerable: false }]);
  });
});

describe('a connection that must close when idle', () => {
  it('closes between requests, and not during one', async () => {
    const release = Promise.withResolvers<void>();
    const { client, connection } = await begun(async (_arrival, reply) => {
      await release.promise;
      answer(reply, 'ok');
    });
    client.send(get('/'));
    await settle();
    connection.closeIfIdle(0);
    release.resolve();
    expect((await client.response()).body).toBe('ok');
    connection.closeIfIdle(0);
    expect(await client.ended()).toBe('');
  });
});
