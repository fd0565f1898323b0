import { once } from 'node:events';
import {
  connect,
  type ClientHttp2Session,
  type ClientHttp2Stream,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
  type SecureClientSessionOptions,
} from 'node:http2';
import { onTestFinished } from 'vitest';
import { grantedTo, type Granted } from './granted.ts';
import { openTls, type TunnelOptions } from './raw-client.ts';
import type { SidekeyOptions, TestSidekey } from './sidekey.ts';
import { startH2Upstream } from './upstream.ts';

/** One response as Node's client gives it. */
export interface H2Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
  readonly trailers: IncomingHttpHeaders;
  /** Interim responses. */
  readonly interim: readonly IncomingHttpHeaders[];
  /** The error code of the reset; 0: none. */
  readonly code: number;
  /** True when the stream had an END_STREAM. */
  readonly whole: boolean;
}

/** An upstream that speaks HTTP/2, and a proxy with a grant for it. */
export async function grantedH2(
  listener: Parameters<typeof startH2Upstream>[0],
  options: SidekeyOptions = {},
): Promise<Granted> {
  return grantedTo(await startH2Upstream(listener), options);
}

/** Options that give an HTTP/2 client HTTP/2, though the upstream of the test has only HTTP/1.1. */
export const onlyH2: TunnelOptions = { protocols: ['h2'] };

/** Opens a session of Node's client inside a tunnel, for an upstream of any protocol. */
export async function openSession(
  sidekey: Pick<TestSidekey, 'port' | 'caPem'>,
  authority: string,
  options: SecureClientSessionOptions = {},
  tunnel: TunnelOptions = onlyH2,
): Promise<ClientHttp2Session> {
  const socket = await openTls(sidekey, authority, tunnel);
  const session = connect(`https://${authority}`, { ...options, createConnection: () => socket });
  session.on('error', () => {});
  onTestFinished(() => session.destroy());
  await once(session, 'remoteSettings');
  return session;
}

/** Starts a request. */
export function request(
  session: ClientHttp2Session,
  headers: OutgoingHttpHeaders = {},
  { endStream = true } = {},
): ClientHttp2Stream {
  const stream = session.request({ ':path': '/', ...headers }, { endStream });
  stream.on('error', () => {});
  return stream;
}

/** Resolves when the stream has closed. */
export async function answerOf(stream: ClientHttp2Stream): Promise<H2Answer> {
  let headers: IncomingHttpHeaders = {};
  let trailers: IncomingHttpHeaders = {};
  let body = '';
  let whole = false;
  const interim: IncomingHttpHeaders[] = [];
  stream
    .on('headers', (fields) => interim.push(fields))
    .on('response', (fields) => (headers = fields))
    .on('trailers', (fields) => (trailers = fields))
    .on('data', (piece: Buffer) => (body += piece.toString('latin1')))
    .on('end', () => (whole = stream.rstCode === 0));
  await new Promise<void>((resolve) => {
    if (stream.closed && stream.destroyed) resolve();
    else stream.once('close', resolve);
  });
  const status = Number(headers[':status'] ?? 0);
  return { status, headers, body, trailers, interim, code: stream.rstCode, whole };
}

/** Sends a request, and resolves with the whole response. */
export function ask(
  session: ClientHttp2Session,
  headers: OutgoingHttpHeaders = {},
  body?: string | Buffer,
): Promise<H2Answer> {
  const stream = request(session, headers, { endStream: body === undefined });
  if (body !== undefined) stream.end(body);
  return answerOf(stream);
}
