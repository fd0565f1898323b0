import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { networkInterfaces } from 'node:os';
import { SidekeyError } from '../../lib/errors.ts';
import { systemClock } from '../../lib/timers.ts';
import { type Authority, createAddressGuard, parseCidr } from '../policy/authority.ts';
import type { Limits } from '../policy/limits.ts';
import { createDialer, type ParentProxyRoute } from './dialer.ts';
import { createConnections } from './h1-pool.ts';
import { createStreams } from './h2-pool.ts';
import { createKnownProtocols, createProtocols } from './h2-session.ts';
import type { ParentProxy } from './parent-proxy.ts';
import { createResolver, createRouter, type ProxyExceptions, type Router } from './resolve.ts';
import { type ClientCertificate, createTrust } from './tls.ts';
import type { OwnFetch } from './token-fetch.ts';

/** The `upstream` settings of the config. */
interface UpstreamClientOptions {
  /** Trust anchors besides the system's, as PEM. */
  readonly ca: readonly string[];
  /** Host → its only trust anchors, as PEM. */
  readonly hostCa?: ReadonlyMap<string, string>;
  readonly resolve: ReadonlyMap<string, string>;
  /** CIDRs. */
  readonly privateAddresses: readonly string[];
  /** Default: null, for no parent proxy. */
  readonly proxy?: ParentProxy | null;
  readonly noProxy?: ProxyExceptions;
  readonly clientCertificates?: readonly ClientCertificate[];
  readonly limits: Limits;
  /** The ports that this process listens on. */
  readonly ownPorts: () => readonly number[];
}

/** All connections of the process to other hosts, through one dialer. */
export type UpstreamClient = ReturnType<typeof createUpstreamClient>;

/** @throws SidekeyError `config_invalid` if trust anchors or client certificates cannot be used */
export function createUpstreamClient(options: UpstreamClientOptions) {
  const { ca, hostCa, resolve, limits, proxy = null, noProxy = { hosts: [], blocks: [] } } = options;
  const blocks = options.privateAddresses.map(parseCidr).filter((block) => block !== null);
  const isSelf = (address: string, port: number) =>
    options.ownPorts().includes(port) && isLocalAddress(address);
  const route = createRouter({
    resolve: createResolver({ guard: createAddressGuard(blocks), pinned: resolve }),
    isPinned: (host) => resolve.has(host),
    isSelf,
    proxy,
    exceptions: noProxy,
  });
  const trust = createTrust(ca, options.clientCertificates, hostCa);
  const dialer = createDialer({
    route,
    trust,
    caKey: (host) => (hostCa?.has(host) ? `upstream.host_ca.${host}` : ca.length > 0 ? 'upstream.ca' : null),
    timeoutMs: limits.upstream_connect,
    proxy: proxy === null ? null : { proxy, addresses: proxyAddresses(proxy, resolve, isSelf) },
  });
  const connections = createConnections({ dialer, limits });
  // undici would be half of the code loaded at the start, and is needed only when a token expires.
  const tokens = lazyFetch(async () => {
    const { createTokenFetch } = await import('./token-fetch.ts');
    return createTokenFetch(dialer, limits);
  });
  const knownProtocols = createKnownProtocols(systemClock);
  const streams = createStreams({ dialer, limits, known: knownProtocols, connections });
  return {
    dialer,
    /** HTTP/1.1. */
    connections,
    /** HTTP/2. */
    streams,
    protocols: createProtocols(knownProtocols, (authority) => streams.negotiate(authority)),
    /** `fetch` for token endpoints. Uses separate connections, so that a full pool never delays a refresh. */
    fetch: tokens.fetch,
    /** Reads the trust anchors of an upstream before its first request. That takes tens of milliseconds. */
    prepare: (authority: Authority) => void trust(authority),
    /**
     * Opens UDP to an address of the host that the address guard allows. Rejects with SidekeyError
     * `address_blocked` or `upstream_unreachable`.
     */
    datagrams: (host: string, port: number) => openDatagrams(route, host, port),
    /** Waits for the exchanges in flight, then closes the connections. */
    async close(): Promise<void> {
      await Promise.all([connections.close(), streams.close(), tokens.close()]);
    },
  };
}

/** Resolves the parent proxy. It may have any address except our own listeners: it is in the config. */
function proxyAddresses(
  { authority }: ParentProxy,
  pinned: ReadonlyMap<string, string>,
  isSelf: (address: string, port: number) => boolean,
): ParentProxyRoute['addresses'] {
  const resolve = createResolver({ guard: () => true, pinned });
  return async () => {
    const addresses = (await resolve(authority.host)).filter(
      ({ address }) => !isSelf(address, authority.port),
    );
    if (addresses.length > 0) return addresses;
    throw new SidekeyError('address_blocked', 'The proxy of upstream.proxy is Sidekey itself.', {
      hint: 'give the address of the company’s proxy, not the one that Sidekey listens on',
    });
  };
}

/** Reports whether an address is local. On most systems, the unspecified address reaches this machine. */
function isLocalAddress(address: string): boolean {
  return (
    address.startsWith('127.') ||
    address === '0.0.0.0' ||
    address === '::' ||
    Object.values(networkInterfaces()).some(
      (list) => list?.some((entry) => entry.address === address) === true,
    )
  );
}

/** Returns a `fetch` that `open` creates at its first use, but never after `close`. */
export function lazyFetch(open: () => Promise<OwnFetch>): OwnFetch {
  let opened: Promise<OwnFetch> | undefined;
  let isClosed = false;
  return {
    async fetch(input, init) {
      if (isClosed && opened === undefined) throw new TypeError('The upstream client is closed.');
      opened ??= open();
      return (await opened).fetch(input, init);
    },
    async close() {
      isClosed = true;
      await (await opened)?.close();
    },
  };
}

/** A UDP socket for one address. */
interface Datagrams {
  /** Resolves when the system has accepted the message. UDP reports no delivery. */
  send(message: Uint8Array): Promise<void>;
  close(): void;
}

/**
 * Opens UDP to the first allowed address of a host. Never goes through a parent proxy. Rejects with
 * SidekeyError `address_blocked` or `upstream_unreachable`.
 */
export async function openDatagrams(route: Router, host: string, port: number): Promise<Datagrams> {
  const selected = await route({ scheme: 'http', host, port });
  if (selected.kind !== 'direct') {
    throw new SidekeyError('upstream_unreachable', `UDP to ${host} cannot go through upstream.proxy.`, {
      hint: `list ${host} in upstream.no_proxy if it can be reached directly, or use TCP or TLS`,
    });
  }
  const [checked] = selected.addresses;
  if (checked === undefined)
    throw new SidekeyError('upstream_unreachable', `The name ${host} has no address.`);
  const socket = createSocket(checked.family === 6 ? 'udp6' : 'udp4');
  // A closed port answers with ICMP, which the system reports later.
  socket.on('error', () => {}).unref();
  return {
    send: (message) =>
      new Promise((done, reject) => {
        socket.send(message, port, checked.address, (error) => {
          if (error === null) done();
          else reject(error);
        });
      }),
    close: () => socket.close(),
  };
}

/**
 * Connects to a Unix-domain socket, such as that of a log collector. Rejects with the system's error. The
 * path comes from the config, never from a request.
 */
export async function connectLocal(path: string): Promise<Socket> {
  const socket = connect({ path });
  await once(socket, 'connect');
  return socket;
}
