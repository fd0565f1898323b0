import { connect as connectTcp, type OnReadOpts, type Socket, type TcpNetConnectOpts } from 'node:net';
import { SidekeyError } from '../lib/errors.ts';
import { type Clock, systemClock } from '../lib/timers.ts';
import { type Cidr, createAddressBlocks } from '../policy/address.ts';
import { type Authority, authorityText, isAddress } from '../policy/authority.ts';
import type { DomainPattern } from '../policy/domain-map.ts';
import type { Peer } from '../policy/peer.ts';
import { type ParentProxy, openTunnel, TunnelRefused } from './parent-proxy.ts';
import { AllFailed, type CheckedAddress, interleave, race, type Resolver } from './resolve.ts';
import {
  clientCertificateRefused,
  type Handshakes,
  clientCertificateHint,
  openTls,
  orAborted,
  overTunnel,
  sessionsByIdentity,
  waitForEvent,
} from './tls.ts';

/** What a dialer is made of. */
interface DialerOptions {
  readonly route: Router;
  /** See `Handshakes`. */
  readonly trust: Handshakes['trust'];
  /** Milliseconds for name look-up, TCP, the tunnel of a proxy and TLS together. */
  readonly timeoutMs: number;
  /** What a way through a proxy is made with; null: there is none. */
  readonly proxy: ParentProxyRoute | null;
  /** Default: that of the process. */
  readonly clock?: Clock;
}

/** What a connection is made with. */
interface ConnectOptions {
  /** Takes what comes, from the first byte on, instead of the socket's `data` event. */
  readonly onread?: OnReadOpts | undefined;
  /** What is offered over TLS (ALPN, RFC 7301), the one liked best first; `http/1.1` alone where nothing is said. */
  readonly protocols?: readonly string[] | undefined;
}

/**
 * The one way out: every connection of Sidekey to an upstream, a token endpoint or a tunnel's end is made here.
 * It finds the way to the authority, keeps to addresses that may be dialed, and for `https` verifies the certificate
 * for the authority's host.
 *
 * Rejects with SidekeyError `address_blocked`, `upstream_unreachable`, `upstream_tls`, `upstream_protocol` or
 * `upstream_timeout`.
 */
export interface Dialer {
  /**
   * A TCP connection, TLS on top where the scheme is `https`: its `alpnProtocol` says what was agreed on. A peer with an
   * identity gets to see that.
   */
  connect(peer: Peer, options?: ConnectOptions): Promise<Socket>;
  /** A TCP connection alone, for a blind tunnel: each side ends by itself, so whoever has it must end ours. */
  connectBlind(authority: Authority): Promise<Socket>;
}

const onlyHttp1 = ['http/1.1'];

/** Keeps TLS sessions, so that a second handshake with the same upstream is short; opens nothing yet. */
export function createDialer({ route, trust, timeoutMs, proxy, clock = systemClock }: DialerOptions): Dialer {
  const parts = { handshakes: { trust, sessions: sessionsByIdentity(clock) }, clock };

  async function dial(peer: Peer, how: Omit<Dialing, 'signal'>): Promise<Socket> {
    const signal = AbortSignal.timeout(timeoutMs);
    const dialing = { ...how, signal };
    let way: Route | undefined;
    try {
      way = await orAborted(route(peer), signal);
      if (way.kind === 'direct') return await connectDirect(peer, way.addresses, dialing, parts);
      if (proxy === null) throw new TypeError('there is no proxy to go through');
      return await connectThrough(peer, way, dialing, { ...proxy, ...parts });
    } catch (error) {
      if (!signal.aborted || error !== signal.reason) throw error;
      const through = way === undefined || way.kind === 'direct' ? null : (proxy?.proxy.authority ?? null);
      throw tooLate(peer, timeoutMs, through);
    }
  }

  return {
    connect: (peer, { onread, protocols = onlyHttp1 } = {}) =>
      dial(peer, {
        tls: peer.scheme === 'https' ? { protocols } : null,
        allowHalfOpen: false,
        onread,
      }),
    connectBlind: (authority) => dial(authority, { tls: null, allowHalfOpen: true }),
  };
}

/** The company's proxy, and what it is reached with. */
export interface ParentProxyRoute {
  readonly proxy: ParentProxy;
  /** The addresses of the proxy itself. Rejects with SidekeyError. */
  readonly addresses: () => Promise<readonly CheckedAddress[]>;
}

/** Longer than between addresses of our own: the proxy has attempts to make before it answers. */
const tunnelDelayMs = 1_000;

/**
 * Connects by a tunnel of the company's proxy, over a connection to it that serves nothing else. Plain connections go
 * by a tunnel too.
 *
 * Rejects with SidekeyError `upstream_unreachable`, `upstream_protocol`, `upstream_tls` or `address_blocked`, or with
 * the reason of the signal.
 */
async function connectThrough(
  peer: Peer,
  way: Exclude<Route, { kind: 'direct' }>,
  { tls, allowHalfOpen, onread, signal }: Dialing,
  {
    proxy,
    addresses,
    ...parts
  }: ParentProxyRoute & { readonly handshakes: Handshakes; readonly clock: Clock },
): Promise<Socket> {
  const attempt = async (host: string, given: AbortSignal): Promise<Socket> => {
    const spoken = proxy.authority.scheme === 'https' ? { protocols: ['http/1.1'] } : null;
    const dialing = { tls: spoken, allowHalfOpen, signal: given };
    const socket = await orAborted(addresses(), given)
      .then((found) => connectDirect(proxy.authority, found, dialing, parts))
      .catch((error: unknown) => {
        throw proxyNotReached(error);
      });
    const target = `${host}:${peer.port}`;
    await openTunnel(socket, proxy, { target, to: authorityText(peer), signal: given });
    return socket;
  };
  const tunnel = await race(hostsOf(peer, way), {
    attempt,
    delayMs: tunnelDelayMs,
    clock: parts.clock,
    signal,
    // Whatever else goes wrong between us and the proxy does so for every address.
    isFinal: (error) => !(error instanceof TunnelRefused),
  }).catch((error: unknown) => {
    throw error instanceof AllFailed ? error.reasons[0] : error;
  });
  const socket = tls === null ? tunnel : overTunnel(peer, tunnel, parts.handshakes, tls.protocols);
  if (tls !== null) await shaken(socket, peer, signal);
  if (onread !== undefined) adaptOnread(socket, onread);
  return socket;
}

function hostsOf(authority: Authority, way: Exclude<Route, { kind: 'direct' }>): readonly string[] {
  if (way.kind === 'named tunnel') return [authority.host];
  return interleave(way.addresses).map(({ address, family }) => (family === 6 ? `[${address}]` : address));
}

/**
 * Has a socket that exists read as `onread` of a socket that is to be made would: through the one buffer, and on while
 * the callback says so. Costs a copy.
 */
export function adaptOnread(socket: Socket, onread: OnReadOpts): void {
  const into = typeof onread.buffer === 'function' ? onread.buffer() : onread.buffer;
  socket.on('data', (chunk: Buffer) => {
    for (let at = 0; at < chunk.length; at += into.length) {
      const piece = chunk.subarray(at, at + into.length);
      into.set(piece);
      // What has been read is handed over all the same.
      if (!onread.callback(piece.length, into)) socket.pause();
    }
  });
}

/** How a connection is to be made. */
interface Dialing {
  /** TLS on top of TCP, and what is offered over it (ALPN); null: TCP alone. */
  readonly tls: { readonly protocols: readonly string[] } | null;
  /** Whether our side stays open when the other has ended. */
  readonly allowHalfOpen: boolean;
  readonly onread?: OnReadOpts | undefined;
  readonly signal: AbortSignal;
}

/** The next address is tried beside one that has not answered for so long (RFC 8305 §8). */
const attemptDelayMs = 250;

/**
 * Connects to whichever of the addresses answers first; TLS, where it is wanted, is made with that one.
 *
 * Rejects with SidekeyError `upstream_unreachable` or `upstream_tls`, or with the reason of the signal.
 */
async function connectDirect(
  peer: Peer,
  addresses: readonly CheckedAddress[],
  { tls, allowHalfOpen, onread, signal }: Dialing,
  { handshakes, clock }: { readonly handshakes: Handshakes; readonly clock: Clock },
): Promise<Socket> {
  const ordered = interleave(addresses);
  const open = (address: CheckedAddress): Socket => {
    const target = targetOf(address, peer.port, allowHalfOpen);
    if (tls !== null) return openTls(peer, target, handshakes, { ...tls, onread });
    return connectTcp(onread === undefined ? target : { ...target, onread });
  };
  const attempt = async (address: CheckedAddress, given: AbortSignal): Promise<Socket> => {
    const socket = open(address);
    await waitForEvent(socket, 'connect', given);
    return socket;
  };
  const socket = await race(ordered, { attempt, delayMs: attemptDelayMs, clock, signal }).catch(
    (error: unknown) => {
      throw error instanceof AllFailed ? unreachable(peer, ordered, error.reasons) : error;
    },
  );
  if (tls !== null) await shaken(socket, peer, signal);
  return socket;
}

/** Resolves when the handshake is done and the certificate verified. Rejects as `connectDirect`. */
async function shaken(socket: Socket, peer: Peer, signal: AbortSignal): Promise<void> {
  try {
    await waitForEvent(socket, 'secureConnect', signal);
  } catch (error) {
    throw error === signal.reason ? error : tlsFailed(peer, error as Error);
  }
}

/** One address, and no name: there is nothing to be looked up again. */
function targetOf(
  { address, family }: CheckedAddress,
  port: number,
  allowHalfOpen: boolean,
): TcpNetConnectOpts {
  return {
    host: address,
    family,
    port,
    allowHalfOpen,
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: 60_000,
    autoSelectFamily: false,
  };
}

/** The way to an authority. */
type Route =
  | { readonly kind: 'direct'; readonly addresses: readonly CheckedAddress[] }
  /** Through the company's proxy, to checked addresses of ours. */
  | { readonly kind: 'tunnel'; readonly addresses: readonly CheckedAddress[] }
  /** Through the company's proxy, to whatever address the name has for it. */
  | { readonly kind: 'named tunnel' };

/** Finds the way. Rejects with SidekeyError `address_blocked` or `upstream_unreachable`. */
export type Router = (authority: Authority) => Promise<Route>;

/** What ways are found by. */
export interface RouterOptions {
  readonly resolve: Resolver;
  /** Whether `upstream.resolve` has the host. */
  readonly isPinned: (host: string) => boolean;
  /** Whether an address is this proxy's own listener: dialing it would go round for ever. */
  readonly isSelf: (address: string, port: number) => boolean;
  /** Null: every way is direct. */
  readonly proxy: { readonly resolves: boolean } | null;
  /** What goes directly all the same. */
  readonly exceptions: Exceptions;
}

/** `upstream.no_proxy`. */
export interface Exceptions {
  /** Without a port: any port. */
  readonly hosts: readonly DomainPattern[];
  readonly blocks: readonly Cidr[];
}

/** Every authority's addresses are checked, but where the proxy looks names up itself. */
export function createRouter({ resolve, isPinned, isSelf, proxy, exceptions }: RouterOptions): Router {
  const isListed = createAddressBlocks(exceptions.blocks);

  async function addressesOf(authority: Authority): Promise<readonly CheckedAddress[]> {
    const found = await resolve(authority.host);
    const addresses = found.filter(({ address }) => !isSelf(address, authority.port));
    if (addresses.length > 0) return addresses;
    throw new SidekeyError('address_blocked', `${authorityText(authority)} is this proxy itself.`);
  }

  return async (authority) => {
    const { host } = authority;
    if (proxy === null || exceptions.hosts.some((pattern) => isException(pattern, authority)))
      return { kind: 'direct', addresses: await addressesOf(authority) };
    if (proxy.resolves && !isAddress(host) && !isPinned(host)) return { kind: 'named tunnel' };
    const addresses = await addressesOf(authority);
    const listed = addresses.filter(({ address }) => isListed(address));
    return listed.length > 0 ? { kind: 'direct', addresses: listed } : { kind: 'tunnel', addresses };
  };
}

/** Unlike in the domain map, a pattern without a port stands for all ports: so people know it from other programs. */
function isException({ host, wildcard, port }: DomainPattern, authority: Authority): boolean {
  if (port !== null && port !== authority.port) return false;
  return wildcard ? authority.host.endsWith(`.${host}`) : authority.host === host;
}

/** A socket's handshake failed. */
function tlsFailed(peer: Peer, cause: Error): SidekeyError {
  const notTaken = clientCertificateRefused(peer, cause);
  if (notTaken !== null) return notTaken;
  const why = reasonOf(cause);
  const unknownIssuer = /ISSUER|SELF_SIGNED|UNABLE_TO/.test(why);
  return new SidekeyError('upstream_tls', `The TLS handshake with ${nameOf(peer)} failed (${why}).`, {
    hint: unknownIssuer
      ? 'if a company CA signed it, add its certificate to upstream.ca'
      : /ECONNRESET|EPIPE|^closed/.test(why)
        ? clientCertificateHint(peer)
        : undefined,
    cause,
  });
}

/** No more are named: the first ones explain the rest. */
const mostNamed = 3;

/** No address of it could be connected to: why, of each. */
function unreachable(
  authority: Authority,
  addresses: readonly CheckedAddress[],
  causes: readonly Error[],
): SidekeyError {
  const reasons = addresses.map(({ address }, at) => `${address}: ${reasonOf(causes[at])}`);
  const more = reasons.length > mostNamed ? `, and ${reasons.length - mostNamed} more` : '';
  const why = reasons.length === 1 ? reasonOf(causes[0]) : `${reasons.slice(0, mostNamed).join(', ')}${more}`;
  return new SidekeyError('upstream_unreachable', `${nameOf(authority)} cannot be reached (${why}).`, {
    cause: causes[0],
  });
}

/** Why the proxy of `upstream.proxy` has no connection for us: else its name would stand there as if it had been asked for. */
function proxyNotReached(error: unknown): unknown {
  if (!(error instanceof SidekeyError) || error.code === 'address_blocked') return error;
  const { code, message, hint = 'check upstream.proxy, or what upstream.no_proxy leaves to it' } = error;
  return new SidekeyError(code, `No way to the proxy of upstream.proxy: ${message}`, { hint, cause: error });
}

/** @param through the proxy on the way, if there is one */
function tooLate(authority: Authority, ms: number, through: Authority | null): SidekeyError {
  const by = through === null ? '' : ` through the proxy ${nameOf(through)}`;
  const sentence = `${nameOf(authority)} did not accept a connection${by} within ${ms} ms.`;
  return new SidekeyError('upstream_timeout', sentence);
}

function nameOf({ host, port }: Authority): string {
  return `${host}:${port}`;
}

function reasonOf(cause: Error | undefined): string {
  if (cause === undefined) return 'unknown';
  return 'code' in cause && typeof cause.code === 'string' ? cause.code : cause.message;
}
