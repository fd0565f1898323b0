import { once } from 'node:events';
import { type ClientHttp2Stream, connect } from 'node:http2';
import type { Socket } from 'node:net';
import { openSocket, questionOf, type LoadTarget } from '../connection.ts';
import { kilobyteLength, type Load, type LoadResult } from '../load.ts';

/**
 * `requests`: GET after GET of 1 KB, each on a stream of its own; `messages`: streams that stay open, and
 * carry message after message in both directions; `events`: event streams over HTTP/1.1, each in a tunnel of
 * its own, with an event each second.
 */
export type StreamKind = 'requests' | 'messages' | 'events';

/** A message of gRPC with 123 bytes. */
const message = Buffer.concat([Buffer.from([0, 0, 0, 0, 123]), Buffer.alloc(123, 'x')]);

/** Opens the streams, `count` at a time. Latencies of events count from the time that they have. */
export function openStreams(target: LoadTarget, kind: StreamKind, count: number): Promise<Load> {
  return kind === 'events' ? openEvents(target, count) : openH2(target, kind, count);
}

async function openH2(target: LoadTarget, kind: StreamKind, count: number): Promise<Load> {
  const { host, port, authorization } = target;
  const socket = await openSocket(target, ['h2']);
  const session = connect(`https://${host}:${port}`, { createConnection: () => socket });
  await once(session, 'connect');
  const fields = {
    'user-agent': 'example-sdk/4.12.0 (linux; x64)',
    accept: 'application/json',
    'x-request-id': '7b1d2c64-6b60-4c0a-9a55-0f5a4c1c2d3e',
    ...(authorization === undefined ? {} : { authorization }),
  };
  const ask = async (): Promise<boolean> => {
    const stream = session.request({ ':path': '/1k', ...fields }, { endStream: true });
    let length = 0;
    let status = 0;
    stream.on('response', (head) => (status = Number(head[':status'])));
    stream.on('data', (bytes: Buffer) => (length += bytes.length));
    await once(stream, 'end');
    return status === 200 && length === kilobyteLength;
  };
  const open = async (): Promise<() => Promise<boolean>> => {
    if (kind === 'requests') return ask;
    const head = { 'content-type': 'application/grpc', te: 'trailers' };
    const path = '/repos/acme/widgets/issues/echo';
    const stream = session.request({ ':method': 'POST', ':path': path, ...fields, ...head });
    const [answer] = (await once(stream, 'response')) as [{ ':status'?: number }];
    if (answer[':status'] !== 200) throw new Error(`the stream was answered ${answer[':status']}`);
    return () => echoed(stream);
  };
  const asks = await Promise.all(Array.from({ length: count }, open));
  return {
    async run(seconds) {
      const begin = performance.now();
      const end = begin + seconds * 1_000;
      const latencies: number[] = [];
      let failures = 0;
      const work = async (each: () => Promise<boolean>) => {
        for (let now = begin; now < end;) {
          const startedAt = performance.now();
          if (!(await each())) failures += 1;
          now = performance.now();
          latencies.push((now - startedAt) * 1_000);
        }
      };
      await Promise.all(asks.map(work));
      return resultOf(latencies, failures, begin);
    },
    close: () => session.destroy(),
  };
}

/** Sends a message, and resolves when it has come back. */
function echoed(stream: ClientHttp2Stream): Promise<boolean> {
  return new Promise((resolve, reject) => {
    let length = 0;
    const take = (bytes: Buffer) => {
      length += bytes.length;
      if (length < message.length) return;
      stream.off('data', take).off('close', reject);
      resolve(length === message.length);
    };
    stream.on('data', take).once('close', reject);
    stream.write(message);
  });
}

async function openEvents(target: LoadTarget, count: number): Promise<Load> {
  let latencies: number[] = [];
  const { request } = questionOf(target, '/user/events', 0);
  const open = async () => {
    const socket = await openSocket(target);
    socket.on('data', (bytes: Buffer) => {
      const now = performance.timeOrigin + performance.now();
      for (const [, sentAt] of bytes.toString('latin1').matchAll(/data: (\d+\.?\d*)/g))
        latencies.push((now - Number(sentAt)) * 1_000);
    });
    socket.write(request);
    const [head] = (await once(socket, 'data')) as [Buffer];
    if (!head.toString('latin1').startsWith('HTTP/1.1 200')) throw new Error('an event stream was refused');
    return socket;
  };
  const sockets: Socket[] = [];
  // In groups: a proxy need not accept all of them at once.
  while (sockets.length < count)
    sockets.push(...(await Promise.all(Array.from({ length: Math.min(50, count - sockets.length) }, open))));
  return {
    async run(seconds) {
      const begin = performance.now();
      latencies = [];
      await new Promise((resolve) => setTimeout(resolve, seconds * 1_000));
      const lost = sockets.filter(({ destroyed }) => destroyed).length;
      return resultOf(latencies, lost, begin);
    },
    close() {
      for (const socket of sockets) socket.destroy();
    },
  };
}

function resultOf(latencies: readonly number[], failures: number, begin: number): LoadResult {
  return {
    exchanges: latencies.length,
    seconds: (performance.now() - begin) / 1_000,
    latencies: Float64Array.from(latencies).toSorted(),
    failures,
  };
}
