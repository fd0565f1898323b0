import {
  createSecureServer as createH2Server,
  type Http2SecureServer,
  type Http2ServerRequest,
  type Http2ServerResponse,
} from 'node:http2';
import { createServer as createHttpsServer, type Server } from 'node:https';
import { createServer as createHttpServer, type RequestListener } from 'node:http';
import { createServer as createTcpServer, type AddressInfo, type Socket } from 'node:net';
import { createServer as createTlsServer, type TLSSocket } from 'node:tls';
import { onTestFinished } from 'vitest';
import { issueLeaf, makeAuthority, validFor } from '../../examples/helpdesk/certificate.ts';

/** The host name of upstreams of tests; the proxy's config maps it to 127.0.0.1. */
export const upstreamHost = 'api.acme.test';

const authority = makeAuthority('Acme Test Root', validFor(30, Date.now()));
const leaf = issueLeaf(authority, upstreamHost, validFor(30, Date.now()));

/** PEM of the CA that signs upstream certificates. */
export const upstreamCa = authority.cert;

/** Creates a key and certificate of the same CA for another name or time. */
export function upstreamLeaf(host: string, validity = validFor(30, Date.now())) {
  return issueLeaf(authority, host, validity);
}

/** A real upstream on a free port of 127.0.0.1. */
export interface Upstream {
  readonly port: number;
  /** `api.acme.test:PORT` */
  readonly authority: string;
  readonly url: string;
  /** Number of TCP connections so far. */
  connections(): number;
  /** Number of open TCP connections. */
  open(): number;
  /** Resolves when no connection is open. */
  allClosed(): Promise<void>;
  /** Resets every TCP connection. */
  reset(): void;
  close(): Promise<void>;
}

/**
 * An HTTPS server; closed, with its connections, when the test ends.
 * @param address default: 127.0.0.1
 */
export async function startUpstream(
  listener: RequestListener,
  identity: Identity = leaf,
  address?: string,
): Promise<Upstream & { readonly server: Server }> {
  const server = createHttpsServer(identity, listener);
  return { ...(await begin(server, 'https', address)), server };
}

/**
 * A server of HTTP/2 and HTTP/1.1.
 * @param enableConnectProtocol offers extended CONNECT (RFC 8441)
 */
export async function startH2Upstream(
  listener: (request: Http2ServerRequest, response: Http2ServerResponse) => void,
  { enableConnectProtocol = false } = {},
): Promise<Upstream & { readonly server: Http2SecureServer }> {
  const server = createH2Server({ ...leaf, allowHTTP1: true, settings: { enableConnectProtocol } }, listener);
  return { ...(await begin(server, 'https')), server };
}

/** A server without TLS. */
export function startPlainUpstream(listener: RequestListener, address?: string): Promise<Upstream> {
  return begin(createHttpServer(listener), 'http', address);
}

/** A key and its certificate, PEM. */
export interface Identity {
  readonly key: string;
  readonly cert: string;
}

/**
 * Starts a TLS server that hands over each connection after its handshake, for upstreams that send exact
 * bytes.
 */
export function startRawUpstream(onSocket: (socket: TLSSocket) => void): Promise<Upstream> {
  return begin(
    createTlsServer({ ...leaf, ALPNProtocols: ['http/1.1'] }, (socket) => {
      socket.on('error', () => socket.destroy());
      onSocket(socket);
    }),
    'https',
  );
}

/** Starts such a server without TLS. */
export function startRawPlainUpstream(onSocket: (socket: Socket) => void): Promise<Upstream> {
  return begin(
    createTcpServer((socket) => {
      socket.on('error', () => socket.destroy());
      onSocket(socket);
    }),
    'http',
  );
}

interface Listening {
  listen(port: number, host: string, done: () => void): unknown;
  address(): AddressInfo | string | null;
  on(event: 'connection', listener: (socket: Socket) => void): unknown;
  close(done: () => void): unknown;
}

async function begin(server: Listening, scheme: 'http' | 'https', address = '127.0.0.1'): Promise<Upstream> {
  const sockets = new Set<Socket>();
  let seen = 0;
  let waiting: (() => void)[] = [];
  server.on('connection', (socket) => {
    seen += 1;
    sockets.add(socket);
    socket.on('error', () => {});
    socket.once('close', () => {
      sockets.delete(socket);
      if (sockets.size > 0) return;
      for (const resolve of waiting) resolve();
      waiting = [];
    });
  });
  await new Promise<void>((resolve) => {
    server.listen(0, address, resolve);
  });
  const { port } = server.address() as AddressInfo;
  const close = () =>
    new Promise<void>((resolve) => {
      server.close(() => resolve());
      for (const socket of sockets) socket.destroy();
    });
  onTestFinished(close);
  const authorityText = `${upstreamHost}:${port}`;
  return {
    port,
    authority: authorityText,
    url: `${scheme}://${authorityText}`,
    connections: () => seen,
    open: () => sockets.size,
    allClosed: () =>
      new Promise((resolve) => {
        if (sockets.size === 0) resolve();
        else waiting.push(resolve);
      }),
    reset() {
      for (const socket of sockets) socket.resetAndDestroy();
    },
    close,
  };
}
