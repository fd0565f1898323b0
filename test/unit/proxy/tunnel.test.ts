import { once } from 'node:events';
import { Duplex } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { relay } from '../../../src/proxy/connect.ts';
import { closed, gone, socketPair, textOf } from './socket-pair.ts';

const long = 60_000;

describe('a relay', () => {
  it('transfers bytes in both directions, counts them, and ends when both sides have ended', async () => {
    using client = await socketPair();
    using upstream = await socketPair();
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
    const paused = once(upstream.near, 'pause');
    upstream.far.write('ping');
    await paused;
    const resumed = once(upstream.near, 'resume');
    writes.shift()?.();
    await resumed;
    client.destroy();
    expect(await done).toEqual({ bytesIn: 0, bytesOut: 4 });
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
