import { once } from 'node:events';
import { Duplex } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { relay } from '../../../src/proxy/connect.ts';
import { closed, gone, socketPair, textOf } from './socket-pair.ts';

/** Milliseconds after which a stuck relay is cut, so that its test fails by an assertion. */
const long = 5_000;

describe('a relay', () => {
  it('transfers bytes in both directions, counts them, and ends when both sides have ended', async () => {
    using client = await socketPair();
    using upstream = await socketPair();
    // As a reader before may have left them.
    for (const { near } of [client, upstream]) near.pause();
    const done = relay(client.near, upstream.near, long);
    client.far.end('ping!');
    expect(await textOf(upstream.far)).toBe('ping!');
    upstream.far.end('pong');
    expect(await textOf(client.far)).toBe('pong');
    expect(await done).toEqual({ bytesIn: 5, bytesOut: 4 });
  });

  it('keeps the client’s direction open after the upstream half-closes', async () => {
    using client = await socketPair();
    using upstream = await socketPair();
    const done = relay(client.near, upstream.near, long);
    upstream.far.end('bye');
    expect(await textOf(client.far)).toBe('bye');
    client.far.end('not yet');
    expect(await textOf(upstream.far)).toBe('not yet');
    expect(await done).toEqual({ bytesIn: 7, bytesOut: 3 });
  });

  it('applies backpressure of the slower side', async () => {
    using client = await socketPair();
    using upstream = await socketPair();
    const done = relay(client.near, upstream.near, long);
    const chunk = Buffer.alloc(1 << 20);
    while (client.far.write(chunk) || client.far.writableLength < 8 * chunk.length) {
      if (client.far.writableLength >= 8 * chunk.length) break;
    }
    await once(upstream.far, 'readable');
    expect(client.near.readableLength + upstream.near.writableLength).toBeLessThan(1 << 20);
    client.far.end();
    const sent = client.far.bytesWritten;
    upstream.far.resume().once('end', () => upstream.far.end());
    expect((await done).bytesIn).toBe(sent);
  });

  it('reads from a side only while the other accepts bytes', async () => {
    using upstream = await socketPair();
    const writes: (() => void)[] = [];
    const write = (_chunk: unknown, _encoding: string, done: () => void) => void writes.push(done);
    const client = new Duplex({ read: () => {}, write, writableHighWaterMark: 1 });
    const done = relay(client, upstream.near, long);
    const read = once(upstream.near, 'data');
    upstream.far.write('ping');
    await read;
    expect(upstream.near.isPaused()).toBe(true);
    const drained = once(client, 'drain');
    writes.shift()?.();
    await drained;
    expect(upstream.near.isPaused()).toBe(false);
    client.destroy();
    expect(await done).toEqual({ bytesIn: 0, bytesOut: 4 });
  });

  it.each(['client', 'upstream'] as const)(
    'delivers all bytes of the %s to a slow reader, and buffers few',
    async (side) => {
      const ends = { client: await socketPair(), upstream: await socketPair() };
      using client = ends.client;
      using upstream = ends.upstream;
      const done = relay(client.near, upstream.near, long);
      const [from, to] = side === 'client' ? [client.far, upstream.far] : [upstream.far, client.far];
      const total = 100 << 20;
      const chunk = Buffer.alloc(1 << 20);
      void pipeline(
        Array.from({ length: total / chunk.length }, () => chunk),
        from,
      ).catch(() => {});
      let [received, most] = [0, 0];
      for await (const piece of to.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
        received += piece.length;
        for (const { readableLength, writableLength } of [client.near, upstream.near])
          most = Math.max(most, readableLength + writableLength);
        // Other turns: the sender and the relay are faster than this reader.
        await nextTurn();
      }
      expect(received).toBe(total);
      expect(most).toBeLessThan(1 << 20);
      to.end();
      from.resume();
      expect(await done).toMatchObject({ [side === 'client' ? 'bytesIn' : 'bytesOut']: total });
    },
  );

  it.each(['client', 'upstream'] as const)('passes on an end of the %s before it started', async (side) => {
    const ends = { client: await socketPair(), upstream: await socketPair() };
    using client = ends.client;
    using upstream = ends.upstream;
    const [first, other] = side === 'client' ? [client, upstream] : [upstream, client];
    first.far.end();
    await once(first.near, 'end');
    const done = relay(client.near, upstream.near, long);
    expect(other.near.writableEnded).toBe(true);
    expect(await textOf(other.far)).toBe('');
    other.far.end('late');
    expect(await textOf(first.far)).toBe('late');
    expect(await done).toEqual(side === 'client' ? { bytesIn: 0, bytesOut: 4 } : { bytesIn: 4, bytesOut: 0 });
  });

  it('passes on the answer of an upstream that closes while the client sends', async () => {
    using client = await socketPair();
    using upstream = await socketPair();
    const done = relay(client.near, upstream.near, long);
    const send = () => {
      while (client.far.writable && client.far.write(Buffer.alloc(1 << 16)));
    };
    client.far.on('drain', send);
    send();
    const answer = textOf(client.far);
    upstream.far.end('too large');
    expect(await answer).toBe('too large');
    upstream.far.resetAndDestroy();
    expect((await done).bytesOut).toBe(9);
    await closed(client.far);
  });

  it.each(['client', 'upstream'] as const)('cuts both sides when the %s is reset', async (side) => {
    const ends = { client: await socketPair(), upstream: await socketPair() };
    using client = ends.client;
    using upstream = ends.upstream;
    const done = relay(client.near, upstream.near, long);
    ends[side].far.resetAndDestroy();
    await done;
    await Promise.all([closed(client.near), closed(upstream.near)]);
  });

  it('cuts both sides after the idle time-out', async () => {
    using client = await socketPair();
    using upstream = await socketPair();
    expect(await relay(client.near, upstream.near, 10)).toEqual({ bytesIn: 0, bytesOut: 0 });
    await Promise.all([closed(client.near), closed(upstream.near)]);
  });

  it.each(['client', 'upstream'] as const)(
    'ends at once if the %s was closed before it started',
    async (side) => {
      const ends = { client: await socketPair(), upstream: await socketPair() };
      using client = ends.client;
      using upstream = ends.upstream;
      await gone(ends[side].near);
      expect(await relay(client.near, upstream.near, long)).toEqual({ bytesIn: 0, bytesOut: 0 });
      await Promise.all([closed(client.near), closed(upstream.near)]);
    },
  );
});
