import { once } from 'node:events';
import {
  createSecureServer,
  type Http2SecureServer,
  type IncomingHttpHeaders,
  type SecureServerOptions,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import type { AddressInfo, Socket } from 'node:net';
import { createServer as createTlsServer, type TLSSocket } from 'node:tls';
import { onTestFinished } from 'vitest';
import { defaultLimits, type Limits } from '../../src/proxy/policy/limits.ts';
import type { Authority } from '../../src/proxy/policy/authority.ts';
import type { RawFields } from '../../src/proxy/http/fields.ts';
import { Meter } from '../../src/proxy/http/message.ts';
import { createConnections } from '../../src/proxy/upstream/h1-pool.ts';
import type { Dialer } from '../../src/proxy/upstream/dialer.ts';
import { createStreams } from '../../src/proxy/upstream/h2-pool.ts';
import { createKnownProtocols, createProtocols } from '../../src/proxy/upstream/h2-session.ts';
import {
  credentialsOf,
  type FakeRequest,
  forwarded,
  requestOf,
  replyOf,
} from '../unit/proxy/fake-upstream.ts';
import { manualClock } from '../unit/lib/manual-clock.ts';
import { dialerForTest } from '../unit/proxy/upstream/upstream-for-test.ts';
import { makeTestAuthority } from './certificates.ts';
import { ack, frame, frameType, headers, onFrames, settings, type Frame } from './http2-frames.ts';

export const company = makeTestAuthority('Company CA');
const identity = company.issue(['api.example', 'other.example']);
const pinned = { 'api.example': '127.0.0.1', 'other.example': '127.0.0.1' };

export type OnStream = (stream: ServerHttp2Stream, raw: RawFields, fields: IncomingHttpHeaders) => void;

/** A real HTTP/2 server for `api.example`. */
export interface Http2Upstream {
  readonly authority: Authority;
  readonly server: Http2SecureServer;
  /** The sessions that began, in order. */
  readonly sessions: readonly ServerHttp2Session[];
  /** The number of connections. */
  accepted(): number;
}

export async function http2Upstream(
  onStream: OnStream,
  options: SecureServerOptions = {},
): Promise<Http2Upstream> {
  const server = createSecureServer({ ...identity, ...options });
  const sessions: ServerHttp2Session[] = [];
  server.on('session', (session) => void sessions.push(session.on('error', () => {})));
  server.on('stream', (stream, fields, _flags, raw) => {
    stream.on('error', () => {});
    onStream(stream as ServerHttp2Stream, raw, fields);
  });
  const { port, accepted } = await listening(server);
  return { authority: { scheme: 'https', host: 'api.example', port }, server, sessions, accepted };
}

/** An upstream that reads and writes HTTP/2 frames. */
export interface FrameUpstream {
  readonly authority: Authority;
  accepted(): number;
}

/**
 * Starts an upstream that works on HTTP/2 frames. It sends its SETTINGS by itself unless `greets` is false.
 */
export async function frameUpstream(
  onFrame: (frame: Frame, socket: TLSSocket, connection: number) => void,
  { greets = true, most = 100 }: { readonly greets?: boolean; readonly most?: number } = {},
): Promise<FrameUpstream> {
  let count = 0;
  const server = createTlsServer({ ...identity, ALPNProtocols: ['h2'], allowHalfOpen: true }, (socket) => {
    const connection = (count += 1);
    socket.on('error', () => {});
    if (greets) socket.write(settings([3, most]));
    onFrames(socket, (heard) => {
      if (greets && heard.type === frameType.settings && heard.flags !== ack)
        socket.write(frame('settings', 0, ack));
      onFrame(heard, socket, connection);
    });
  });
  const { port, accepted } = await listening(server);
  return { authority: { scheme: 'https', host: 'api.example', port }, accepted };
}

/** Encodes a response with this text as its body. */
export function answer(stream: number, text = 'ok'): Buffer {
  return Buffer.concat([headers(stream, 0, ':status', '200'), frame('data', stream, 1, Buffer.from(text))]);
}

async function listening(server: Http2SecureServer | ReturnType<typeof createTlsServer>) {
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => void sockets.add(socket.on('error', () => {})));
  server.on('tlsClientError', () => {});
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return { port: (server.address() as AddressInfo).port, accepted: () => sockets.size };
}

/** The upstream client of a test, with a test clock and test limits. */
export function createUpstreams(
  limits: Partial<Limits> = {},
  dialer: Dialer = dialerForTest({ pinned, ca: company.cert }),
) {
  const clock = manualClock();
  const all = { ...defaultLimits, ...limits };
  const known = createKnownProtocols(clock);
  const connections = createConnections({ dialer, limits: all, clock });
  const streams = createStreams({ dialer, limits: all, known, connections, clock });
  const protocols = createProtocols(known, (authority) => streams.negotiate(authority));
  onTestFinished(async () => {
    void streams.close();
    void connections.close();
  });
  /** Forwards a request of an HTTP/2 client. */
  const carry = (authority: Authority, more: FakeRequest = {}, waits = false) => {
    const client = replyOf(undefined, waits);
    const meter = new Meter(more.account);
    const request = requestOf({
      authority,
      protocol: 'h2',
      fields: ['Host', 'api.example'],
      carriesGrant: false,
      ...more,
    });
    const carried = forwarded(
      request,
      client.reply,
      { connections, streams, limits: all },
      meter,
      credentialsOf(more),
    );
    carried.catch(() => {});
    return { ...client, carried, meter };
  };
  return { clock, known, streams, connections, protocols, carry };
}
