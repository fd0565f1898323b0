import { describe, expect, it, vi } from 'vitest';
import { createGone, Meter } from '../../../src/proxy/http/message.ts';
import { defaultLimits } from '../../../src/proxy/policy/limits.ts';
import type { UpstreamRequest } from '../../../src/proxy/request.ts';
import {
  bodyOf,
  credentialsOf,
  exchangeOf,
  fakeConnections,
  framed,
  noStreams,
  replyOf,
  requestOf,
  turn,
  forwarded,
} from './fake-upstream.ts';

const unauthorized = 'HTTP/1.1 401 Unauthorized\r\nContent-Length: 12\r\n\r\nwho are you?';
const ok = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';
const okSaid = [['head', 200, 'OK', 'Content-Length', '2'], ['write', 'ok'], ['end']];
const second: Partial<UpstreamRequest> = {
  path: '/',
  fields: ['Host', 'api.acme.test', 'Authorization', 'Bearer second'],
};

describe('a 401 during a refresh', () => {
  it('is held until the refresh ends, then forwarded complete', async () => {
    const renewal = Promise.withResolvers<Partial<UpstreamRequest> | null>();
    const { give, said, carried } = exchangeOf({ renew: () => renewal.promise });
    const connection = give();
    connection.says(unauthorized);
    await turn();
    expect(said).toEqual([]);
    renewal.resolve(null);
    expect(await carried).toEqual({ status: 401, bytesIn: 0, bytesOut: 12, outcome: 'complete' });
    expect(said).toEqual([
      ['head', 401, 'Unauthorized', 'Content-Length', '12'],
      ['write', 'who are you?'],
      ['end'],
    ]);
    expect(connection.released).toBe(true);
  });

  it('is discarded if the request is replayed', async () => {
    const { give, said, carried, asked } = exchangeOf({ renew: async () => second });
    const first = give();
    first.says(unauthorized);
    await turn();
    expect([first.released, asked.length]).toEqual([true, 2]);
    const connection = give();
    expect(connection.sent()).toContain('Authorization: Bearer second\r\n');
    connection.says(ok);
    expect(await carried).toMatchObject({ status: 200, outcome: 'complete' });
    expect(said).toEqual(okSaid);
  });

  it('is forwarded the second time', async () => {
    const { give, said, carried } = exchangeOf({ renew: async () => second });
    give().says(unauthorized);
    await turn();
    give().says(unauthorized);
    expect(await carried).toMatchObject({ status: 401 });
    expect(said[0]).toContain(401);
  });

  it('replays the body with its original framing and trailers', async () => {
    const renew = vi.fn(async () => ({ ...second, fields: framed('chunked').fields }));
    const { give, asked } = exchangeOf({
      method: 'POST',
      ...framed('chunked'),
      body: bodyOf('he', 'llo'),
      trailers: () => ['X-Sum', '7'],
      renew,
    });
    const first = give();
    await turn();
    expect(first.sent()).toContain('\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\nX-Sum: 7\r\n\r\n');
    first.says(unauthorized);
    await turn();
    expect(asked).toHaveLength(2);
    const again = give();
    await turn();
    expect(again.sent()).toContain('\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 7\r\n\r\n');
    expect(renew).toHaveBeenCalledExactlyOnceWith(true);
  });

  it('for a body too long to keep is forwarded, and the token is refreshed for the next request', async () => {
    const renew = vi.fn(async () => null);
    const { give, said, carried } = exchangeOf(
      { method: 'POST', ...framed(5), body: bodyOf('hello'), renew },
      { ...defaultLimits, replay_bytes: 4 },
    );
    const connection = give();
    await turn();
    connection.says(unauthorized);
    expect(await carried).toMatchObject({ status: 401, bytesIn: 5 });
    expect(said[1]).toContain(401);
    expect(renew).toHaveBeenCalledExactlyOnceWith(false);
  });

  it('with a body beyond the held size pauses its connection', async () => {
    const renewal = Promise.withResolvers<Partial<UpstreamRequest> | null>();
    const { give, said, carried } = exchangeOf({ renew: () => renewal.promise });
    const connection = give();
    connection.says('HTTP/1.1 401 No\r\nContent-Length: 70000\r\n\r\n');
    connection.says('x'.repeat(40_000));
    expect(connection.paused).toBe(false);
    connection.says('x'.repeat(26_000));
    expect(connection.paused).toBe(true);
    renewal.resolve(null);
    await turn();
    expect(connection.paused).toBe(false);
    connection.says('x'.repeat(4_000));
    expect(await carried).toMatchObject({ bytesOut: 70_000, outcome: 'complete' });
    expect(said).toHaveLength(3);
  });

  it('is not forwarded to a client that has disconnected', async () => {
    const renewal = Promise.withResolvers<Partial<UpstreamRequest> | null>();
    const { give, said, carried, gone, asked } = exchangeOf({ renew: () => renewal.promise });
    give().says(unauthorized);
    gone.tell();
    expect(await carried).toMatchObject({ status: 401, outcome: 'gone' });
    renewal.resolve(second);
    await turn();
    expect([said, asked.length]).toEqual([[], 1]);
  });
});

describe('a request of an HTTP/2 client', () => {
  it('is forwarded to an upstream without TLS over HTTP/1.1', async () => {
    const { give, carried } = exchangeOf({
      protocol: 'h2',
      authority: { scheme: 'http', host: 'api.acme.test', port: 80 },
      fields: ['Host', 'api.acme.test', 'te', 'trailers', 'x', 'y'],
    });
    const connection = give();
    expect(connection.sent()).toBe('GET / HTTP/1.1\r\nHost: api.acme.test\r\nx: y\r\n\r\n');
    connection.says(ok);
    expect(await carried).toMatchObject({ status: 200, outcome: 'complete' });
  });
});

describe('a client that disconnects', () => {
  it('before its request is forwarded causes no upstream request', async () => {
    const gone = createGone();
    gone.tell();
    const { connections, asked } = fakeConnections();
    const carried = await forwarded(
      requestOf(),
      replyOf(gone).reply,
      { connections, streams: noStreams, limits: defaultLimits },
      new Meter(),
      credentialsOf(),
    );
    expect([carried.status, carried.outcome, asked.length]).toEqual([0, 'gone', 0]);
  });

  it('while it waits for a connection leaves the queue', async () => {
    const { gone, carried, left } = exchangeOf();
    gone.tell();
    expect(await carried).toMatchObject({ outcome: 'gone' });
    expect(left()).toBe(1);
  });

  it('has its upstream connection cut in any phase', async () => {
    const { give, gone, carried, said } = exchangeOf();
    const connection = give();
    connection.says('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart');
    gone.tell();
    connection.says('more');
    expect(await carried).toMatchObject({ outcome: 'gone', bytesOut: 4 });
    expect([connection.destroyed, connection.released, said.length]).toEqual([true, false, 2]);
  });
});

describe('a request whose connection is lost', () => {
  const reset = Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' });

  it('is replayed once over a new connection if it is safe, but not twice', async () => {
    const { give, asked, carried } = exchangeOf();
    give().user.lost(reset);
    await turn();
    expect(asked.map(({ fresh }) => fresh)).toEqual([false, true]);
    give().user.ended();
    await expect(carried).rejects.toMatchObject({
      code: 'upstream_unreachable',
      message: expect.stringContaining('closed the connection before it answered'),
    });
    expect(asked).toHaveLength(2);
  });

  it('is replayed once with its body if the body was kept', async () => {
    const { give, asked } = exchangeOf({ ...framed(5), body: bodyOf('hello') });
    const first = give();
    await turn();
    first.user.lost(reset);
    await turn();
    expect(asked).toHaveLength(2);
    const again = give();
    await turn();
    expect(again.sent()).toMatch(/\r\n\r\nhello$/);
  });

  it.each([
    ['is not safe', { method: 'POST' }],
    ['has a body that has not all come', { ...framed(9), body: bodyOf('part') }],
  ])('is not sent again if it %s', async (_why, more) => {
    const { give, asked, carried } = exchangeOf(more);
    give().user.lost(reset);
    await expect(carried).rejects.toMatchObject({ code: 'upstream_unreachable' });
    expect(asked).toHaveLength(1);
  });

  it('is not replayed after a byte of the response', async () => {
    const { give, asked, carried } = exchangeOf();
    const connection = give();
    connection.says('H');
    connection.user.lost(reset);
    await expect(carried).rejects.toMatchObject({ code: 'upstream_protocol' });
    expect(asked).toHaveLength(1);
  });
});

describe('a time-out', () => {
  it('for the response head starts at the end of the request, and restarts with each piece of its body', async () => {
    const piece = Promise.withResolvers<void>();
    async function* body() {
      yield Buffer.from('he');
      await piece.promise;
      yield Buffer.from('llo');
    }
    const { give, carried } = exchangeOf({ method: 'POST', ...framed(5), body: body() });
    const connection = give();
    await turn();
    // Here the client is slow instead of the upstream.
    connection.user.expired();
    expect(connection.destroyed).toBe(false);
    piece.resolve();
    await turn();
    expect(connection.due).toBe(defaultLimits.upstream_head);
    connection.user.expired();
    await expect(carried).rejects.toMatchObject({
      code: 'upstream_timeout',
      message: 'api.acme.test did not answer in time.',
    });
    expect(connection.destroyed).toBe(true);
  });

  it('for the response head is not extended by interim responses or half a head', () => {
    const { give } = exchangeOf();
    const connection = give();
    for (let i = 0; i < 9; i += 1) connection.says('HTTP/1.1 102 Processing\r\n\r\n');
    connection.says('HTTP/1.1 200 O');
    expect(connection.deadlines).toBe(1);
    connection.says('K\r\nContent-Length: 0\r\n\r\n');
  });

  it('between two pieces does not run while the client is not reading', async () => {
    const { give, carried, drains, state } = exchangeOf();
    const connection = give();
    state.full = true;
    connection.says('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart');
    expect([connection.paused, connection.due]).toEqual([true, defaultLimits.upstream_idle]);
    connection.user.expired();
    expect(connection.destroyed).toBe(false);
    for (const drain of drains) drain();
    expect(connection.paused).toBe(false);
    connection.user.expired();
    expect(await carried).toMatchObject({ outcome: 'broken' });
  });
});
