import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { createSecureContext, createServer as createTlsServer, type TlsOptions } from 'node:tls';
import type { Clock } from '../../../../src/lib/timers.ts';
import { createAddressGuard, parseCidr } from '../../../../src/proxy/policy/authority.ts';
import { createDialer, type Dialer } from '../../../../src/proxy/upstream/dialer.ts';
import type { ParentProxy } from '../../../../src/proxy/upstream/parent-proxy.ts';
import {
  createResolver,
  createRouter,
  type ProxyExceptions,
  type ResolverOptions,
} from '../../../../src/proxy/upstream/resolve.ts';

/** A server of a test, on a port of its own. */
export interface Upstream {
  readonly port: number;
  /** Connections that came in. */
  readonly accepted: () => number;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Listens on 127.0.0.1, or on `host`; cuts every connection when it is disposed of. */
export async function upstream(
  onSocket: (socket: Socket) => void = () => {},
  host = '127.0.0.1',
): Promise<Upstream> {
  return listening(createServer({ allowHalfOpen: true }, onSocket), host);
}

/** Starts the same upstream over TLS. */
export async function tlsUpstream(
  options: TlsOptions,
  onSocket: (socket: Socket) => void = () => {},
  host = '127.0.0.1',
): Promise<Upstream> {
  const server = createTlsServer(options, onSocket);
  server.on('tlsClientError', () => {});
  return listening(server, host);
}

async function listening(server: Server, host: string): Promise<Upstream> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    sockets.add(socket.on('error', () => {}));
  });
  server.listen(0, host);
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    accepted: () => sockets.size,
    async [Symbol.asyncDispose]() {
      const closed = once(server, 'close');
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

export interface DialerForTest {
  /** Value of `upstream.private_addresses`. */
  readonly permitted?: readonly string[];
  readonly pinned?: Readonly<Record<string, string>>;
  readonly lookup?: ResolverOptions['lookup'];
  /** PEM of what is trusted. */
  readonly ca?: string;
  /** Key of the config that lists trust anchors. */
  readonly caKey?: string;
  readonly timeoutMs?: number;
  readonly isSelf?: (address: string, port: number) => boolean;
  /** An upstream on 127.0.0.1. */
  readonly proxy?: ParentProxy;
  readonly exceptions?: ProxyExceptions;
  readonly clock?: Clock;
}

/** A dialer that reaches loopback unless other blocks are permitted, and asks no name service. */
export function dialerForTest(options: DialerForTest = {}): Dialer {
  const { permitted = ['127.0.0.0/8', '::1'], pinned = {}, ca = [] } = options;
  const blocks = permitted.map((text) => parseCidr(text)!);
  return createDialer({
    route: createRouter({
      resolve: createResolver({
        guard: createAddressGuard(blocks),
        pinned: new Map(Object.entries(pinned)),
        lookup: options.lookup ?? (() => Promise.reject(new Error('a test must not ask the name service'))),
      }),
      isPinned: (host) => host in pinned,
      isSelf: options.isSelf ?? (() => false),
      proxy: options.proxy ?? null,
      exceptions: options.exceptions ?? { hosts: [], blocks: [] },
    }),
    trust: () => createSecureContext({ ca }),
    caKey: () => options.caKey ?? null,
    timeoutMs: options.timeoutMs ?? 10_000,
    proxy:
      options.proxy === undefined
        ? null
        : {
            proxy: options.proxy,
            addresses: () => Promise.resolve([{ address: '127.0.0.1', family: 4 }]),
          },
    ...(options.clock === undefined ? {} : { clock: options.clock }),
  });
}
