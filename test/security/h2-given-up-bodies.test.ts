import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2';
import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { openFrames, type FrameClient } from '../support/frame-client.ts';
import { block, endHeaders, endStream, frame, number, reset } from '../support/http2-frames.ts';
import { startTwoWorkers } from '../support/two-workers.ts';
import { startH2Upstream } from '../support/upstream.ts';

// Node aborts the process where a stream that waits to send trailers is ended after it was destroyed
// (`Http2Stream::OnTrailers`). Whether frames lead there depends on what the sockets take, so many are sent,
// of every kind: without the guard it is one run in three that finds it.
test('bodies and responses that are aborted at random never end the proxy and always leave an audit record', async () => {
  const random = randomFrom(47);
  const upstream = await startH2Upstream((request, response) => answerSomehow(random, request, response));
  const { port, caFile, stop, lines, pid } = await startTwoWorkers({
    upstream,
    config: { workers: 1, limits: { body_bytes: 3_000 } },
  });
  const sidekey = { port, caPem: await readFile(caFile, 'utf8') };
  for (let session = 0; session < 60; session += 1) {
    const client = await openFrames(sidekey, upstream.authority);
    await speakAtRandom(client, random).catch(() => {});
    client.destroy();
  }
  expect(() => process.kill(pid, 0)).not.toThrow();
  expect(await stop()).toMatchObject({ exit: 0 });
  const all = await lines();
  const ended = new Set(all.filter(({ event }) => event !== 'access').map(({ exchange }) => exchange));
  expect(all.filter(({ event }) => event === 'access').length).toBeGreaterThan(100);
  expect(all.filter(({ event, exchange }) => event === 'access' && !ended.has(exchange))).toEqual([]);
});

type Random = (below: number) => number;

/** Numbers that are the same each time. */
function randomFrom(seed: number): Random {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff;
    return (state >> 8) % below;
  };
}

function answerSomehow(random: Random, request: Http2ServerRequest, response: Http2ServerResponse): void {
  request.on('error', () => {});
  response.on('error', () => {});
  request.on('data', () => {
    if (random(4) === 0) response.write('more');
  });
  const withTrailers = () => {
    response.writeHead(200, { trailer: 'x-sum' });
    response.write('a');
    response.addTrailers({ 'x-sum': '1' });
    response.end();
  };
  const ways = [
    () => response.end('ok'),
    withTrailers,
    () => response.stream.close([0, 2, 7, 8][random(4)]),
    () => {
      response.write(Buffer.alloc(100_000));
      setImmediate(() => response.end());
    },
    () => {
      response.write('a');
      setImmediate(() => response.stream.close(8 * random(2)));
    },
    () => {
      response.stream.session?.goaway(0);
      response.end('x');
    },
  ];
  const way = ways[random(8)];
  if (way === undefined) request.on('end', withTrailers);
  else way();
}

/** Requests, bodies in pieces, trailers and resets, in an order that no client would choose. */
async function speakAtRandom(client: FrameClient, random: Random): Promise<void> {
  let next = 1;
  const code = () => [0, 8, 2][random(3)]!;
  const begin = (flags: number, more: Readonly<Record<string, string>> = {}) => {
    const head = frame('headers', next, endHeaders | flags, block(client.fields(more)));
    next += 2;
    return head;
  };
  const kinds = [
    () => [begin(endStream)],
    () => [begin(endStream)],
    () => {
      const stream = next;
      const frames = [begin(0, { ':method': 'POST' })];
      if (random(2) === 0) frames.push(frame('data', stream, random(2), Buffer.alloc(random(3_500))));
      if (random(3) === 0) frames.push(reset(stream, code()));
      return frames;
    },
    () => (next > 1 ? [reset(Math.max(1, next - 2 - 2 * random(2)), code())] : []),
    () => (next > 1 ? [frame('data', next - 2, endStream, Buffer.alloc(random(200)))] : []),
    () => (next > 1 ? [frame('headers', next - 2, endHeaders | endStream, block([['x-sum', '1']]))] : []),
    () => (next > 1 ? [frame('window', next - 2, 0, number(1 + random(70_000)))] : []),
    () => [frame('window', 0, 0, number(100_000))],
  ];
  for (let round = 0; round < 60; round += 1) {
    const frames = Array.from({ length: 1 + random(6) }, () => kinds[random(kinds.length)]!()).flat();
    await client.send(...frames);
    if (random(3) === 0) await new Promise(setImmediate);
  }
}
