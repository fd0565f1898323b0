import { once } from 'node:events';
import { createServer, type ServerHttp2Stream } from 'node:http2';
import type { AddressInfo, Socket } from 'node:net';
import { onTestFinished } from 'vitest';
import type { RawFields } from '../../src/proxy/http/fields.ts';
import { createGone, type ExchangeResult, Meter, type Reply } from '../../src/proxy/http/message.ts';
import type { Authority } from '../../src/proxy/policy/authority.ts';
import { defaultLimits } from '../../src/proxy/policy/limits.ts';
import { credentialsOf, forwarded, requestOf } from '../unit/proxy/fake-upstream.ts';
import type { createUpstreams } from './http2-upstream.ts';

/** The smallest client side of a proxy for HTTP/2 clients: every request is for this authority. */
export interface Http2Edge {
  readonly port: number;
  /** The results of the exchanges, in order. */
  readonly ended: readonly Promise<ExchangeResult>[];
}

export async function http2Edge(
  authority: Authority,
  { connections, streams }: ReturnType<typeof createUpstreams>,
): Promise<Http2Edge> {
  const ended: Promise<ExchangeResult>[] = [];
  const server = createServer();
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => void sockets.add(socket));
  server.on('stream', (native, fields, flags, raw) => {
    const stream = native as ServerHttp2Stream;
    const hasBody = (flags & 1) === 0;
    const { ':method': method = 'GET', ':path': path = '/' } = fields;
    let trailers: RawFields = [];
    stream.on('trailers', (_fields, _flags, rest) => void (trailers = rest));
    const kept = raw.filter((_text, i, all) => !all[i - (i % 2)]!.startsWith(':'));
    const request = requestOf({
      authority,
      protocol: 'h2',
      method,
      path,
      fields: ['Host', 'api.example', ...kept],
      framing: hasBody ? { kind: 'chunked' } : { kind: 'none' },
      body: hasBody ? stream.iterator({ destroyOnReturn: false }) : null,
      trailers: () => trailers,
    });
    const limits = defaultLimits;
    const carried = forwarded(
      request,
      replyOn(stream),
      { connections, streams, limits },
      new Meter(),
      credentialsOf(),
    );
    carried.catch(() => stream.close(2));
    ended.push(carried);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return { port: (server.address() as AddressInfo).port, ended };
}

function replyOn(stream: ServerHttp2Stream): Reply {
  const gone = createGone();
  let held: Record<string, string | string[] | number> | null = null;
  let sent: RawFields = [];
  let isWhole = false;
  stream
    .on('error', () => {})
    .on('close', () => {
      if (!isWhole) gone.tell();
    });
  const begin = (endStream: boolean) => {
    const head = held;
    held = null;
    if (head === null || stream.closed) return;
    stream.respond(head, { endStream, waitForTrailers: !endStream });
    if (!endStream) stream.on('wantTrailers', () => stream.sendTrailers(objectOf(sent)));
  };
  const reply: Reply & { started: boolean } = {
    started: false,
    gone,
    hold: () => gone,
    expectsContinue: false,
    continue() {},
    informational: (status, fields) => stream.additionalHeaders({ ':status': status, ...objectOf(fields) }),
    closeAfter() {},
    head(status, _reason, fields) {
      reply.started = true;
      held = { ':status': status, ...objectOf(fields) };
      // An end in the same turn makes a head without a body.
      process.nextTick(() => begin(false));
    },
    write(chunk) {
      begin(false);
      return stream.write(chunk);
    },
    onDrain: (listener) => void stream.once('drain', listener),
    end(trailers, flushed) {
      isWhole = true;
      sent = trailers;
      begin(true);
      if (!stream.writableEnded) stream.end();
      flushed?.();
    },
    abort: () => setImmediate(() => stream.close(2)),
  };
  return reply;
}

function objectOf(fields: RawFields): Record<string, string[]> {
  const object: Record<string, string[]> = {};
  for (let i = 0; i < fields.length; i += 2) (object[fields[i]!.toLowerCase()] ??= []).push(fields[i + 1]!);
  return object;
}
