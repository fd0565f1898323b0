import { once } from 'node:events';
import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { onTestFinished } from 'vitest';
import type { TestSidekey } from './sidekey.ts';
import { upstreamHost } from './upstream.ts';

/** One response as received. */
export interface RawResponse {
  readonly status: number;
  readonly reason: string;
  /** Names and values in turn, as received. */
  readonly rawHeaders: readonly string[];
  /** Values by lower-case name; repeated fields are joined with a comma. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  /** Trailer field lines. */
  readonly trailers: readonly string[];
}

/** A client that sends exactly the given bytes, and keeps the received ones (as latin1). */
export interface RawClient {
  readonly socket: Socket;
  send(...texts: string[]): void;
  /** All received bytes that `response` has not taken. */
  received(): string;
  /** Resolves when this text was received; rejects when the connection ends without it. */
  until(text: string): Promise<string>;
  /** Takes the next response from the received bytes. `to`: the method of its request. */
  response(to?: string): Promise<RawResponse>;
  /** Resolves with the remaining bytes when the server has ended its side. */
  ended(): Promise<string>;
}

interface ProxyPlace {
  readonly port: number;
  /** Default: 127.0.0.1. */
  readonly host?: string;
}

/** Opens a connection to the proxy itself. */
export async function openClient({ host = '127.0.0.1', port }: ProxyPlace): Promise<RawClient> {
  const socket = connectTcp({ host, port, noDelay: true, allowHalfOpen: true });
  await once(socket, 'connect');
  return rawClient(socket);
}

/** The options of a tunnel. */
export interface TunnelOptions {
  /** More field lines of the CONNECT. */
  readonly fields?: readonly string[];
  readonly servername?: string;
  /** Protocols offered in ALPN. */
  readonly protocols?: readonly string[];
}

/** Opens a tunnel and makes the TLS handshake; the client sends inside of TLS. */
export async function openTunnel(
  sidekey: ProxyPlace & Pick<TestSidekey, 'caPem'>,
  authority: string,
  options: TunnelOptions = {},
): Promise<RawClient> {
  return rawClient(await openTls(sidekey, authority, options));
}

/** Opens a tunnel as `openTunnel` does; returns the TLS socket. */
export async function openTls(
  sidekey: ProxyPlace & Pick<TestSidekey, 'caPem'>,
  authority: string,
  options: TunnelOptions = {},
): Promise<TLSSocket> {
  return (await openLayers(sidekey, authority, options)).inner;
}

/** Opens a tunnel as `openTls` does; returns the TCP connection too. */
export async function openLayers(
  sidekey: ProxyPlace & Pick<TestSidekey, 'caPem'>,
  authority: string,
  { fields = [], servername = upstreamHost, protocols = ['http/1.1'] }: TunnelOptions = {},
): Promise<{ readonly inner: TLSSocket; readonly outer: Socket }> {
  const outer = await openClient(sidekey);
  outer.send(
    `CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n`,
    ...fields.map((it) => `${it}\r\n`),
    '\r\n',
  );
  const answer = await outer.response('CONNECT');
  if (answer.status !== 200) throw new Error(`CONNECT was answered ${answer.status} ${answer.reason}`);
  outer.socket.removeAllListeners('data');
  const inner = connectTls({
    socket: outer.socket,
    servername,
    ca: sidekey.caPem,
    ALPNProtocols: [...protocols],
  });
  inner.on('error', () => {});
  await once(inner, 'secureConnect');
  return { inner, outer: outer.socket };
}

export function rawClient(socket: Socket): RawClient {
  let buffer = '';
  let over = false;
  let listeners: (() => void)[] = [];
  const wake = () => {
    const woken = listeners;
    listeners = [];
    for (const listener of woken) listener();
  };
  const change = () =>
    new Promise<void>((resolve) => {
      listeners.push(resolve);
    });
  socket.on('data', (chunk: Buffer) => {
    buffer += chunk.toString('latin1');
    wake();
  });
  for (const event of ['end', 'close']) {
    socket.on(event, () => {
      over = true;
      wake();
    });
  }
  socket.on('error', () => {});
  onTestFinished(() => void socket.destroy());

  async function until(text: string): Promise<string> {
    while (!buffer.includes(text)) {
      if (over)
        throw new Error(`the connection ended without ${JSON.stringify(text)}: ${JSON.stringify(buffer)}`);
      await change();
    }
    return buffer;
  }
  async function take(length: number): Promise<string> {
    while (buffer.length < length) {
      if (over) throw new Error(`the connection ended ${length - buffer.length} bytes early`);
      await change();
    }
    const taken = buffer.slice(0, length);
    buffer = buffer.slice(length);
    return taken;
  }
  async function line(): Promise<string> {
    const text = await until('\r\n');
    return (await take(text.indexOf('\r\n') + 2)).slice(0, -2);
  }
  async function fieldLines(): Promise<string[]> {
    const lines: string[] = [];
    for (let next = await line(); next !== ''; next = await line()) lines.push(next);
    return lines;
  }
  async function chunks(): Promise<string> {
    let body = '';
    for (;;) {
      const size = parseInt(await line(), 16);
      if (size === 0) return body;
      body += await take(size);
      await line();
    }
  }
  const isOver = () => over;
  async function ended(): Promise<string> {
    while (!isOver()) await change();
    return buffer;
  }

  return {
    socket,
    send: (...texts) => void socket.write(texts.join(''), 'latin1'),
    received: () => buffer,
    until,
    ended,
    async response(to = 'GET') {
      const [, status = '', reason = ''] = /^HTTP\/1\.[01] (\d{3}) ?(.*)$/.exec(await line()) ?? [];
      const rawHeaders = (await fieldLines()).flatMap((text) => {
        const colon = text.indexOf(':');
        return [text.slice(0, colon), text.slice(colon + 1).trim()];
      });
      const headers: Record<string, string> = {};
      for (let i = 0; i < rawHeaders.length; i += 2) {
        const name = rawHeaders[i]!.toLowerCase();
        const before = headers[name];
        headers[name] = before === undefined ? rawHeaders[i + 1]! : `${before}, ${rawHeaders[i + 1]}`;
      }
      const code = Number(status);
      let body = '';
      let trailers: string[] = [];
      const bare = to === 'HEAD' || to === 'CONNECT' || code < 200 || code === 204 || code === 304;
      if (!bare && headers['transfer-encoding'] === 'chunked') {
        body = await chunks();
        trailers = await fieldLines();
      } else if (!bare && headers['content-length'] !== undefined) {
        body = await take(Number(headers['content-length']));
      } else if (!bare) {
        body = await ended();
        buffer = '';
      }
      return { status: code, reason, rawHeaders, headers, body, trailers };
    },
  };
}

/** The problem document of a refusal. */
export function problemOf({ body }: { readonly body: string }): {
  code: string;
  detail: string;
  hint?: string;
} {
  return JSON.parse(body) as { code: string; detail: string; hint?: string };
}
