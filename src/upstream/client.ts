import { networkInterfaces } from 'node:os';
import { Agent, type Dispatcher, fetch as undiciFetch } from 'undici';
import { SidekeyError } from '../lib/errors.ts';
import { systemClock } from '../lib/timers.ts';
import { createAddressGuard, parseCidr } from '../policy/address.ts';
import { type Authority, parseAbsoluteTarget } from '../policy/authority.ts';
import type { Limits } from '../policy/limits.ts';
import { type Datagrams, openDatagrams } from './datagram.ts';
import { createDialer, createRouter, type Dialer, type Exceptions, type ParentProxyRoute } from './dialer.ts';
import { createStreams, type Streams } from './h2-pool.ts';
import type { ParentProxy } from './parent-proxy.ts';
import { type Connections, createConnections } from './pool.ts';
import { createKnownProtocols, createProtocols, type Protocols } from './protocol.ts';
import { createResolver } from './resolve.ts';
import { type ClientCertificate, createTrust } from './tls.ts';

/** What `upstream` of the config says. */
interface UpstreamClientOptions {
  /** Paths of PEM files. */
  readonly ca: readonly string[];
  readonly resolve: ReadonlyMap<string, string>;
  /** CIDRs. */
  readonly privateAddresses: readonly string[];
  /** The proxy that connections go through; null, as where nothing is said: none. */
  readonly proxy?: ParentProxy | null;
  /** What goes directly all the same. */
  readonly noProxy?: Exceptions;
  readonly clientCertificates?: readonly ClientCertificate[];
  readonly limits: Limits;
  /** The ports that this process itself listens on by now. */
  readonly ownPorts: () => readonly number[];
}

/** Every way out of the process, all through one dialer. */
export interface UpstreamClient {
  readonly dialer: Dialer;
  /** For HTTP/1.1. */
  readonly connections: Connections;
  /** For HTTP/2. */
  readonly streams: Streams;
  /** Which of the two an upstream speaks. */
  readonly protocols: Protocols;
  /** For token endpoints; on connections of its own, so that a full pool never delays a refresh. */
  readonly fetch: typeof fetch;
  /**
   * Reads what the certificate of an upstream is verified against, where that was not done yet: tens of milliseconds, for
   * which the first request need not wait.
   */
  prepare(authority: Authority): void;
  /**
   * UDP to an address of a host, checked as those of connections are. Rejects with SidekeyError `address_blocked` or
   * `upstream_unreachable`.
   */
  readonly datagrams: (host: string, port: number) => Promise<Datagrams>;
  /** Lets what is under way end, and closes. */
  close(): Promise<void>;
}

/** @throws SidekeyError `config_invalid` where trust anchors cannot be read, or a client certificate cannot be used */
export function createUpstreamClient(options: UpstreamClientOptions): UpstreamClient {
  const { resolve, limits, proxy = null, noProxy = { hosts: [], blocks: [] } } = options;
  const blocks = options.privateAddresses.map(parseCidr).filter((block) => block !== null);
  const isSelf = (address: string, port: number) =>
    options.ownPorts().includes(port) && isOfThisMachine(address);
  const route = createRouter({
    resolve: createResolver({ guard: createAddressGuard(blocks), pinned: resolve }),
    isPinned: (host) => resolve.has(host),
    isSelf,
    proxy,
    exceptions: noProxy,
  });
  const trust = createTrust(options.ca, options.clientCertificates);
  const dialer = createDialer({
    route,
    trust,
    timeoutMs: limits.upstream_connect,
    proxy: proxy === null ? null : { proxy, addresses: proxyAddresses(proxy, resolve, isSelf) },
  });
  const connections = createConnections({ dialer, limits });
  // undici is half of what would be loaded at a start, and token endpoints are not asked until a token has ended.
  const forTokens = lazyFetch(async () => {
    const { createFetch, createPool } = await import('./client.ts');
    const pool = createPool(dialer, limits);
    return { fetch: createFetch(pool), close: () => pool.close() };
  });
  const known = createKnownProtocols(systemClock);
  const streams = createStreams({ dialer, limits, known, connections });
  return {
    dialer,
    connections,
    streams,
    protocols: createProtocols(known, (authority) => streams.negotiate(authority)),
    fetch: forTokens.fetch,
    prepare: (authority) => void trust(authority),
    datagrams: (host, port) => openDatagrams(route, host, port),
    async close() {
      await Promise.all([connections.close(), streams.close(), forTokens.close()]);
    },
  };
}

/** Of the proxy itself, which the config names: it is the one that may stand at any address but our own. */
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

/** Of a plain address. To dial the unspecified one is, on most systems, to dial this machine. */
function isOfThisMachine(address: string): boolean {
  return (
    address.startsWith('127.') ||
    address === '0.0.0.0' ||
    address === '::' ||
    Object.values(networkInterfaces()).some(
      (list) => list?.some((entry) => entry.address === address) === true,
    )
  );
}

/** Keep-alive connections to token endpoints, every one of them made by the dialer. HTTP/1.1 alone. */
export function createPool(dialer: Dialer, limits: Limits): Dispatcher {
  return new Agent({
    allowH2: false,
    pipelining: 1,
    connections: limits.upstream_connections,
    headersTimeout: limits.upstream_head,
    bodyTimeout: limits.upstream_idle,
    maxHeaderSize: limits.head_bytes,
    connect: ({ protocol, hostname, port }, callback) => {
      const scheme = protocol === 'https:' ? 'https' : 'http';
      // undici has taken the brackets off an IPv6 address.
      const host = hostname.includes(':') ? `[${hostname}]` : hostname;
      const target = parseAbsoluteTarget(`${scheme}://${host}${port === '' ? '' : `:${port}`}/`);
      if (target === null) {
        callback(new SidekeyError('bad_request', 'The upstream has no valid name.'), null);
        return;
      }
      dialer.connect(target.authority).then(
        (socket) => callback(null, socket),
        (error: Error) => callback(error, null),
      );
    },
  });
}

/** `fetch` over the same dialer, for token endpoints. It follows no redirect. */
export function createFetch(dispatcher: Dispatcher): typeof fetch {
  const guarded: unknown = (input: string | URL, init: Parameters<typeof undiciFetch>[1] = {}) =>
    undiciFetch(input, { ...init, dispatcher, redirect: 'manual' });
  return guarded as typeof fetch;
}

/** A `fetch` with connections of its own. */
interface OwnFetch {
  readonly fetch: typeof fetch;
  /** Lets what is under way end, and closes the connections. */
  close(): Promise<void>;
}

/** A `fetch` that is opened when it is first asked for; never, where it is closed before. */
export function lazyFetch(open: () => Promise<OwnFetch>): OwnFetch {
  let opened: Promise<OwnFetch> | undefined;
  let isClosed = false;
  return {
    async fetch(input, init) {
      if (isClosed && opened === undefined) throw new TypeError('The way out is closed.');
      opened ??= open();
      return (await opened).fetch(input, init);
    },
    async close() {
      isClosed = true;
      await (await opened)?.close();
    },
  };
}
