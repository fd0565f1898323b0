import { once } from 'node:events';
import { constants, type ServerHttp2Stream } from 'node:http2';
import { describe, expect, it } from 'vitest';
import {
  ack,
  endHeaders,
  frame,
  frameType,
  goaway,
  headers,
  reset,
  settings,
  type Frame,
} from '../../../support/http2-frames.ts';
import {
  answer,
  company,
  frameUpstream,
  http2Upstream,
  createUpstreams,
} from '../../../support/http2-upstream.ts';
import { streamHead } from '../../../../src/proxy/forward-h2.ts';
import type { UpstreamStream } from '../../../../src/proxy/upstream/h2-stream.ts';
import { requestOf, turn } from '../fake-upstream.ts';
import { dialerForTest } from './upstream-for-test.ts';

const isAsked = ({ type }: Frame) => type === frameType.headers;

const ignore = () => {};

/** An upstream that answers when the test says so. */
async function holding(options?: Parameters<typeof http2Upstream>[1]) {
  const held: ServerHttp2Stream[] = [];
  let wake = ignore;
  const upstream = await http2Upstream((stream) => {
    held.push(stream);
    wake();
  }, options);
  return {
    ...upstream,
    held,
    async until(count: number) {
      while (held.length < count)
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
    },
    answer(count = held.length) {
      for (const stream of held.splice(0, count)) stream.respond({}, { endStream: true });
    },
  };
}

describe('HTTP/2 sessions with an upstream', () => {
  it('are shared by concurrent requests, and reused', async () => {
    const upstream = await holding();
    const { carry } = createUpstreams();
    const first = Array.from({ length: 50 }, () => carry(upstream.authority));
    await upstream.until(50);
    upstream.answer();
    for (const { carried } of first) expect(await carried).toMatchObject({ status: 200 });
    const again = carry(upstream.authority);
    await upstream.until(1);
    upstream.answer();
    await again.carried;
    expect(upstream.accepted()).toBe(1);
  });

  it('release a response that is aborted without a reader', async () => {
    const upstream = await http2Upstream((stream) => {
      stream.respond({});
      stream.end(Buffer.alloc(60_000));
    });
    const { streams } = createUpstreams();
    const givenUp = Promise.withResolvers<void>();
    let opened: UpstreamStream;
    streams.request(upstream.authority, {
      head: streamHead(requestOf({ authority: upstream.authority, fields: [] })),
      opened: (stream) => (opened = stream),
      received() {
        opened.pause();
        opened.destroy();
        givenUp.resolve();
      },
      unopened: (why) => givenUp.reject(why),
      lost: ({ error }) => givenUp.reject(error),
      interim: ignore,
      answered: ignore,
      whole: ignore,
      drained: ignore,
      expired: ignore,
    });
    await givenUp.promise;
    await streams.close();
  });

  it('report their protocol after the cache entry has expired', async () => {
    const upstream = await holding();
    const { carry, known, protocols } = createUpstreams();
    const { carried } = carry(upstream.authority);
    await upstream.until(1);
    known.forget(upstream.authority);
    expect(await protocols.of(upstream.authority)).toMatchObject({ protocol: 'h2' });
    upstream.answer();
    await carried;
    expect(upstream.accepted()).toBe(1);
  });

  it('are not shared between authorities with the same address and certificate', async () => {
    const upstream = await http2Upstream((stream) => stream.respond({}, { endStream: true }));
    const { carry } = createUpstreams();
    await carry(upstream.authority).carried;
    await carry({ ...upstream.authority, host: 'other.example' }).carried;
    expect(upstream.accepted()).toBe(2);
  });

  it('serve as many streams as the upstream allows; further sessions serve the rest', async () => {
    const upstream = await holding({ settings: { maxConcurrentStreams: 3 } });
    const { carry } = createUpstreams();
    const all = Array.from({ length: 7 }, () => carry(upstream.authority));
    await upstream.until(7);
    expect(upstream.accepted()).toBe(3);
    upstream.answer();
    for (const { carried } of all) expect(await carried).toMatchObject({ status: 200 });
  });

  it('serve at most 100 streams', async () => {
    const upstream = await holding({ settings: { maxConcurrentStreams: 1_000 } });
    const { carry } = createUpstreams();
    const all = [carry(upstream.authority)];
    await upstream.until(1);
    for (let i = 0; i < 100; i += 1) all.push(carry(upstream.authority));
    await upstream.until(101);
    expect(upstream.accepted()).toBe(2);
    upstream.answer();
    for (const { carried } of all) await carried;
  });

  it('that are full make users wait in order, up to a time limit', async () => {
    const upstream = await holding({ settings: { maxConcurrentStreams: 1 } });
    const { carry, clock } = createUpstreams({ upstream_connections: 1, upstream_wait: 1_000 });
    const first = carry(upstream.authority);
    await upstream.until(1);
    const [second, third, left] = [
      carry(upstream.authority),
      carry(upstream.authority),
      carry(upstream.authority),
    ];
    left.gone.tell();
    expect(await left.carried).toMatchObject({ outcome: 'gone' });
    upstream.answer();
    await first.carried;
    await upstream.until(1);
    clock.advance(1_000);
    await expect(third.carried).rejects.toMatchObject({ code: 'overloaded' });
    upstream.answer();
    expect(await second.carried).toMatchObject({ status: 200 });
    expect(upstream.accepted()).toBe(1);
  });

  it('serve waiting users when the upstream allows more streams', async () => {
    const upstream = await holding({ settings: { maxConcurrentStreams: 1 } });
    const { carry } = createUpstreams({ upstream_connections: 1 });
    const both = [carry(upstream.authority), carry(upstream.authority)];
    await upstream.until(1);
    upstream.sessions[0]!.settings({ maxConcurrentStreams: 2 });
    await upstream.until(2);
    upstream.answer();
    for (const { carried } of both) expect(await carried).toMatchObject({ status: 200 });
  });

  it('that allow no stream are not opened repeatedly', async () => {
    const upstream = await holding({ settings: { maxConcurrentStreams: 0 } });
    const { carry, clock } = createUpstreams({ upstream_wait: 1_000 });
    const all = [carry(upstream.authority), carry(upstream.authority)];
    while (upstream.sessions.length === 0) await turn();
    // Both sides have applied the settings of the other by then.
    await new Promise((done) => void upstream.sessions[0]!.ping(done));
    await turn();
    carry(upstream.authority);
    clock.advance(1_000);
    for (const { carried } of all) await expect(carried).rejects.toMatchObject({ code: 'overloaded' });
    expect(upstream.accepted()).toBe(1);
  });

  it('that got GOAWAY end their streams, and new requests use another session', async () => {
    const upstream = await holding();
    const { carry } = createUpstreams();
    const first = carry(upstream.authority);
    await upstream.until(1);
    upstream.sessions[0]!.goaway(constants.NGHTTP2_NO_ERROR, upstream.held[0]!.id);
    await new Promise((done) => void upstream.sessions[0]!.ping(done));
    const second = carry(upstream.authority);
    await upstream.until(2);
    upstream.answer();
    expect(await first.carried).toMatchObject({ status: 200, outcome: 'complete' });
    expect(await second.carried).toMatchObject({ status: 200, outcome: 'complete' });
    expect(upstream.accepted()).toBe(2);
  });

  it('close after the idle time, and the next request opens another session', async () => {
    const upstream = await holding();
    const { carry, clock } = createUpstreams({ upstream_keep_alive: 10_000 });
    const first = carry(upstream.authority);
    await upstream.until(1);
    const closed = once(upstream.sessions[0]!, 'close');
    clock.advance(20_000);
    upstream.answer();
    await first.carried;
    await turn();
    clock.advance(9_999);
    expect(upstream.sessions[0]!.destroyed).toBe(false);
    clock.advance(1);
    await closed;
    const second = carry(upstream.authority);
    await upstream.until(1);
    upstream.answer();
    await second.carried;
    expect(upstream.accepted()).toBe(2);
  });

  it('are not kept with a keep-alive limit of zero', async () => {
    const upstream = await holding();
    const { carry } = createUpstreams({ upstream_keep_alive: 0 });
    const { carried } = carry(upstream.authority);
    await upstream.until(1);
    const closed = once(upstream.sessions[0]!, 'close');
    upstream.answer();
    await Promise.all([carried, closed]);
  });

  it('are not reused while idle after one turned out to be dead', async () => {
    const asked: number[] = [];
    const first: (() => void)[] = [];
    const upstream = await frameUpstream(
      (heard, socket, connection) => {
        if (!isAsked(heard)) return;
        asked.push(connection);
        first.push(() => void socket.write(answer(heard.stream)));
        if (connection > 2) socket.write(answer(heard.stream));
        else if (asked.length > 2) socket.destroy();
        else if (asked.length === 2) for (const reply of first) reply();
      },
      { most: 1 },
    );
    const { carry } = createUpstreams();
    await Promise.all([carry(upstream.authority).carried, carry(upstream.authority).carried]);
    // Until both streams are closed.
    for (let i = 0; i < 10; i += 1) await turn();
    expect(await carry(upstream.authority).carried).toMatchObject({ status: 200 });
    expect(asked.toSorted((a, b) => a - b)).toEqual([1, 1, 2, 3]);
  });

  it('close after their end, even if the upstream does not react', async () => {
    const upstream = await frameUpstream((heard, socket) => {
      if (isAsked(heard)) socket.write(Buffer.concat([goaway(heard.stream, 0), answer(heard.stream)]));
    });
    const { carry, clock, streams } = createUpstreams();
    await carry(upstream.authority).carried;
    let isOver = false;
    const over = streams.close().then(() => (isOver = true));
    await turn();
    await turn();
    expect(isOver).toBe(false);
    clock.advance(5_000);
    await over;
  });

  it('close after their last stream', async () => {
    const upstream = await holding();
    const { carry, streams } = createUpstreams();
    const { carried } = carry(upstream.authority);
    await upstream.until(1);
    let isOver = false;
    const over = streams.close().then(() => (isOver = true));
    await turn();
    expect(isOver).toBe(false);
    upstream.answer();
    expect(await carried).toMatchObject({ status: 200, outcome: 'complete' });
    await over;
  });
});

/** Answers pings and requests if it is told to. */
async function silent() {
  const state = { answersPings: true, answersRequests: false, asked: 0, pings: 0 };
  let wake = ignore;
  const upstream = await frameUpstream((heard, socket) => {
    if (isAsked(heard)) {
      state.asked += 1;
      if (state.answersRequests) socket.write(answer(heard.stream));
    }
    if (heard.type === frameType.ping && heard.flags !== ack) {
      state.pings += 1;
      if (state.answersPings) socket.write(frame('ping', 0, ack, heard.payload));
    }
    wake();
  });
  const ways = createUpstreams();
  return {
    ...upstream,
    ...ways,
    state,
    async until(is: () => boolean) {
      while (!is())
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
    },
    /** Resolves when each side has read the earlier writes of the other. */
    async roundTrip() {
      state.answersRequests = true;
      await ways.carry(upstream.authority).carried;
      state.answersRequests = false;
    },
    /** Lets so much time pass that a ping is sent. */
    async ping() {
      await this.roundTrip();
      // Something was read in this minute, and nothing in the next.
      ways.clock.advance(60_000);
      ways.clock.advance(60_000);
      await this.until(() => state.pings === 1);
    },
  };
}

describe('an upstream that is silent during a request', () => {
  it('gets a PING, and its requests are replayed if it does not respond', async () => {
    const upstream = await silent();
    const { carry, clock, state } = upstream;
    state.answersPings = false;
    const safe = carry(upstream.authority);
    const unsafe = carry(upstream.authority, { method: 'POST' });
    await upstream.until(() => state.asked === 2);
    await upstream.ping();
    expect(upstream.accepted()).toBe(1);
    clock.advance(15_000);
    await expect(unsafe.carried).rejects.toMatchObject({ code: 'upstream_unreachable' });
    await upstream.until(() => state.asked === 4);
    expect(upstream.accepted()).toBe(2);
    safe.gone.tell();
  });

  it('that responds to the PING gets no other PING for five minutes', async () => {
    const upstream = await silent();
    const { carry, clock, state } = upstream;
    const { carried, gone } = carry(upstream.authority);
    await upstream.until(() => state.asked === 1);
    await upstream.ping();
    await upstream.roundTrip();
    for (let passed = 0; passed < 304_000; passed += 1_000) clock.advance(1_000);
    await upstream.roundTrip();
    expect(state.pings).toBe(1);
    clock.advance(1_000);
    clock.advance(60_000);
    await upstream.until(() => state.pings === 2);
    gone.tell();
    expect(await carried).toMatchObject({ outcome: 'gone' });
    expect(upstream.accepted()).toBe(1);
  });
});

describe('an upstream that misbehaves', () => {
  const floods: [string, Buffer][] = [
    ['PING', frame('ping', 0, 0, Buffer.alloc(8))],
    ['SETTINGS', settings()],
    ['empty DATA', frame('data', 1, 0)],
  ];
  it.each(floods)('with a flood of %s loses its session', async (_what, flood) => {
    const upstream = await frameUpstream((heard, socket) => {
      if (!isAsked(heard)) return;
      socket.write(answerBegun);
      socket.write(Buffer.concat(Array.from({ length: 1_500 }, () => flood)));
    });
    const { carried } = createUpstreams().carry(upstream.authority);
    expect(await carried).toMatchObject({ outcome: 'broken' });
  });

  it.each([
    ['pushes', frame('pushPromise', 1, endHeaders, [0, 0, 0, 2, 0x82, 0x84, 0x87])],
    ['sends frames of a stream that there is not', frame('data', 99, 0, [1])],
    ['sends a head that no compressor made', frame('headers', 1, endHeaders, [0xff, 0xff, 0xff, 0xff])],
    ['sends a frame that is too large', Buffer.concat([Buffer.from([0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1])])],
    ['speaks HTTP/1.1', Buffer.from('HTTP/1.1 200 OK\r\n\r\n')],
  ])('and %s fails the request with a protocol error, without a replay', async (_what, bytes) => {
    let asked = 0;
    const upstream = await frameUpstream((heard, socket) => {
      if (!isAsked(heard)) return;
      asked += 1;
      socket.write(bytes);
    });
    await expect(createUpstreams().carry(upstream.authority).carried).rejects.toMatchObject({
      code: 'upstream_protocol',
    });
    expect(asked).toBe(1);
  });

  it('with a flood of interim responses loses its session', async () => {
    let heard = 0;
    const upstream = await frameUpstream(({ type, stream }, socket) => {
      if (type !== frameType.headers) return;
      const interim = headers(stream, 0, ':status', '103');
      socket.write(Buffer.concat(Array.from({ length: 1_500 }, () => interim)));
    });
    const { carried, reply } = createUpstreams().carry(upstream.authority);
    Object.assign(reply, { informational: () => (heard += 1) });
    await expect(carried).rejects.toMatchObject({ code: 'upstream_protocol' });
    expect(heard).toBeLessThanOrEqual(1_000);
  });

  it('with an endless head loses its session', async () => {
    const upstream = await frameUpstream((heard, socket) => {
      if (!isAsked(heard)) return;
      socket.write(frame('headers', 1, 0, [0x88]));
      const more = frame('continuation', 1, 0, Buffer.from([0, 1, 97, 1, 98]));
      socket.write(Buffer.concat(Array.from({ length: 1_000 }, () => more)));
    });
    await expect(createUpstreams().carry(upstream.authority).carried).rejects.toMatchObject({
      code: 'upstream_protocol',
    });
  });

  it('and sends no SETTINGS is not awaited longer than a connection', async () => {
    const upstream = await frameUpstream(() => {}, { greets: false });
    const { carry, clock } = createUpstreams({ upstream_connect: 10_000 });
    const { carried } = carry(upstream.authority);
    while (upstream.accepted() === 0) await turn();
    // The session exists once both handshakes are done.
    const timer = setInterval(() => clock.advance(10_000), 5);
    await expect(carried).rejects.toMatchObject({ code: 'upstream_timeout' });
    clearInterval(timer);
  });

  it.each([
    ['hangs up at once', Buffer.alloc(0)],
    ['sends GOAWAY at once', goaway(0, 0)],
    ['speaks another protocol', Buffer.from('SSH-2.0-OpenSSH_9.9\r\n')],
  ])('and %s is refused', async (_how, bytes) => {
    const upstream = await frameUpstream((_heard, socket) => socket.end(bytes), { greets: false });
    await expect(createUpstreams().carry(upstream.authority).carried).rejects.toMatchObject({
      code: 'upstream_protocol',
    });
  });

  it.each(Array.from({ length: 14 }, (_, code) => code))(
    'during an upload fails only the request: code %i',
    async (code) => {
      const says: readonly ((stream: number) => Buffer)[] = [
        (stream) => reset(stream, code),
        (stream) => goaway(stream, code),
        (stream) => Buffer.concat([answer(stream), reset(stream, code)]),
        (stream) => Buffer.concat([answer(stream), goaway(stream, code)]),
        (stream) => Buffer.concat([answer(stream), reset(stream, code), Buffer.from('garbage, no frame')]),
      ];
      for (const said of says) {
        const heard = Promise.withResolvers<void>();
        const upstream = await frameUpstream(({ type, stream }, socket) => {
          if (type !== frameType.data) return;
          socket.write(said(stream), () => heard.resolve());
        });
        const { carried, gone } = createUpstreams().carry(upstream.authority, {
          method: 'POST',
          framing: { kind: 'chunked' },
          body: unfinished(),
          maxResponse: 1,
        });
        await heard.promise;
        await turn();
        gone.tell();
        await carried.catch(() => {});
        await turn();
      }
    },
  );
});

async function* unfinished() {
  yield Buffer.from('part');
  await new Promise<never>(() => {});
}

/** A head behind which a body comes. */
const answerBegun = frame('headers', 1, endHeaders, [0x88]);

describe('an upstream of HTTP/2', () => {
  it('with a wrong certificate gets no request', async () => {
    const upstream = await http2Upstream(() => {});
    const pinned = { 'stranger.example': '127.0.0.1' };
    const { carry } = createUpstreams({}, dialerForTest({ pinned, ca: company.cert }));
    const stranger = { ...upstream.authority, host: 'stranger.example' };
    await expect(carry(stranger).carried).rejects.toMatchObject({ code: 'upstream_tls' });
    expect(upstream.sessions).toEqual([]);
  });

  it('that cannot be reached fails each waiting user once', async () => {
    const upstream = await http2Upstream(() => {});
    const { carry } = createUpstreams(
      {},
      dialerForTest({ permitted: [], pinned: { 'api.example': '127.0.0.1' } }),
    );
    const all = [carry(upstream.authority), carry(upstream.authority)];
    for (const { carried } of all) await expect(carried).rejects.toMatchObject({ code: 'address_blocked' });
    expect(upstream.accepted()).toBe(0);
  });
});
