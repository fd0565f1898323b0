import { once } from 'node:events';
import { createSecureServer, type Http2ServerRequest, type Http2ServerResponse } from 'node:http2';
import type { AddressInfo, Socket } from 'node:net';
import type { SecureVersion, TLSSocket } from 'node:tls';
import { onTestFinished } from 'vitest';
import { readClientCertificate } from '../../src/grants/client-certificate.ts';
import type { Credential } from '../../src/domain/credential.ts';
import { makeTestAuthority, type TestAuthority } from './certificates.ts';
import { ask, openSession } from './h2-client.ts';
import { openTunnel } from './raw-client.ts';
import { startSidekey, type SidekeyOptions, type TestSidekey } from './sidekey.ts';
import { upstreamHost, upstreamLeaf } from './upstream.ts';

/** The CA of client certificates. */
export const clients = makeTestAuthority('Acme Clients');

/** The credential of a grant: a certificate for this name, valid for a day. */
export function certificateOf(
  name: string,
  {
    from = clients,
    validity,
  }: { from?: TestAuthority; validity?: { notBefore: number; notAfter: number } } = {},
): Extract<Credential, { type: 'client_certificate' }> {
  const { cert, key } = from.issue([name], validity);
  return readClientCertificate({ certificate: cert, privateKey: key }, validity?.notBefore ?? Date.now());
}

/** One request as the upstream received it. */
export interface Seen {
  /** The name in the client certificate of the connection; null: no certificate. */
  readonly who: string | null;
  /** The number of its connection, counted from 1. */
  readonly connection: number;
  readonly resumed: boolean;
  /** `1.1` or `2.0`. */
  readonly http: string;
  readonly tls: string | null;
  readonly path: string;
  readonly authorization: string | undefined;
}

/** A real server of HTTP/1.1 and HTTP/2 that requests a certificate from each client. */
export interface CertificateUpstream {
  readonly port: number;
  /** `api.acme.test:PORT` */
  readonly authority: string;
  readonly url: string;
  readonly seen: readonly Seen[];
  /** The number of connections so far. */
  connections(): number;
  /** Resolves when exactly this number of connections is open. */
  open(count: number): Promise<void>;
}

export interface CertificateUpstreamOptions {
  /** The only protocol of the server; default: both. */
  readonly tls?: SecureVersion | undefined;
  /** `optional`: also accepts a client without a certificate. */
  readonly certificate?: 'required' | 'optional';
  /** The CA whose certificates it accepts. */
  readonly trusts?: TestAuthority;
  readonly answer?: (request: Http2ServerRequest, response: Http2ServerResponse) => void;
}

export async function startCertificateUpstream(
  options: CertificateUpstreamOptions = {},
): Promise<CertificateUpstream> {
  const { tls, certificate = 'required', trusts = clients } = options;
  const answer = options.answer ?? ((_request, response) => response.end('let in'));
  const seen: Seen[] = [];
  /** Keyed by the client's port, the only fact of the connection that a request has. */
  const order = new Map<number | undefined, number>();
  const sockets = new Set<Socket>();
  let came = 0;
  let waiting: { readonly count: number; readonly resolve: () => void }[] = [];
  const changed = () => {
    for (const each of waiting) if (each.count === sockets.size) each.resolve();
    waiting = waiting.filter((each) => each.count !== sockets.size);
  };
  const server = createSecureServer(
    {
      ...upstreamLeaf(upstreamHost),
      ca: trusts.cert,
      requestCert: true,
      rejectUnauthorized: certificate === 'required',
      allowHTTP1: true,
      ...(tls === undefined ? {} : { minVersion: tls, maxVersion: tls }),
    },
    (request, response) => {
      const socket = (request.stream?.session?.socket ?? request.socket) as TLSSocket;
      seen.push({
        who: /^DNS:(.*)$/.exec(socket.getPeerCertificate().subjectaltname ?? '')?.[1] ?? null,
        connection: order.get(socket.remotePort)!,
        resumed: socket.isSessionReused(),
        http: request.httpVersion,
        tls: socket.getProtocol(),
        path: request.url,
        authorization: request.headers.authorization,
      });
      answer(request, response);
    },
  );
  server.on('connection', (socket: Socket) => {
    sockets.add(socket.on('error', () => {}));
    order.set(socket.remotePort, (came += 1));
    socket.once('close', () => {
      sockets.delete(socket);
      changed();
    });
  });
  server.on('session', (session) => session.on('error', () => {}));
  server.on('tlsClientError', () => {});
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  const { port } = server.address() as AddressInfo;
  const authority = `${upstreamHost}:${port}`;
  return {
    port,
    authority,
    url: `https://${authority}`,
    seen,
    connections: () => came,
    open: (wanted) =>
      new Promise((resolve) => {
        if (sockets.size === wanted) resolve();
        else waiting.push({ count: wanted, resolve });
      }),
  };
}

/**
 * A proxy whose provider `bank` presents client certificates, except at `/open/**`, where the client has
 * its own credential.
 */
export function sidekeyOfBank(
  authorities: readonly string[],
  { config, ...options }: SidekeyOptions = {},
): Promise<TestSidekey> {
  return startSidekey({
    domains: Object.fromEntries(authorities.map((authority) => [authority, { grant: 'bank' }])),
    config: {
      providers: {
        bank: {
          audience: authorities,
          inject: [{ paths: ['/open/**'], as: 'own' }, { as: 'client_certificate' }],
        },
      },
      ...config,
    },
    ...options,
  });
}

/** The problem document (RFC 9457) of a refused request over HTTP/1.1, HTTP/2 or WebSocket. */
export async function refusalBy(
  how: string,
  sidekey: Pick<TestSidekey, 'port' | 'caPem'>,
  authority: string,
): Promise<{
  readonly status: number;
  readonly code: string;
  readonly detail: string;
  readonly hint: string;
}> {
  const problem = (text: string) => JSON.parse(text) as Awaited<ReturnType<typeof refusalBy>>;
  if (how === 'HTTP/2') return problem((await ask(await openSession(sidekey, authority))).body);
  const client = await openTunnel(sidekey, authority);
  const upgrade = [
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
  ];
  const lines = ['GET / HTTP/1.1', `Host: ${authority}`, ...(how === 'WebSocket' ? upgrade : [])];
  client.send(`${lines.join('\r\n')}\r\n\r\n`);
  return problem((await client.response()).body);
}
