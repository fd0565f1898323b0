import { connect as connectTcp, type OnReadOpts, type Socket } from 'node:net';
import { SidekeyError } from '../../lib/errors.ts';
import { failures } from '../../lib/failures.ts';
import { type Clock, systemClock } from '../../lib/timers.ts';
import { type Authority, authorityText } from '../policy/authority.ts';
import { type Peer, tlsFault } from '../policy/peer.ts';
import { readBeforeFailing } from './h1-connection.ts';
import { openTunnel, type ParentProxy, TunnelRefused } from './parent-proxy.ts';
import type { CheckedAddress, Route, Router } from './resolve.ts';
import { type Handshakes, openTls, sessionsByIdentity, waitForEvent } from './tls.ts';

interface DialerOptions {
  readonly route: Router;
  readonly trust: Handshakes['trust'];
  /** Returns the key of the config that lists trust anchors for a host; null: none does. For hints. */
  readonly caKey?: (host: string) => string | null;
  /** Milliseconds for name look-up, TCP, tunnel and TLS together. */
  readonly timeoutMs: number;
  /** Null without a parent proxy. */
  readonly proxy: ParentProxyRoute | null;
  /** Default: the clock of the process. */
  readonly clock?: Clock;
}

/** The parent proxy, and its addresses. */
export interface ParentProxyRoute {
  readonly proxy: ParentProxy;
  /** Resolves to the addresses of the proxy itself. Rejects with SidekeyError. */
  readonly addresses: () => Promise<readonly CheckedAddress[]>;
}

interface ConnectOptions {
  /** Receives all bytes from the first one on, instead of the `data` event. */
  readonly onread?: OnReadOpts | undefined;
  /** ALPN (RFC 7301), preferred protocol first. Default: only `http/1.1`. */
  readonly protocols?: readonly string[] | undefined;
}

/**
 * Makes every connection of Sidekey to an upstream, to a token endpoint or to the end of a tunnel. Finds the
 * route, dials only allowed addresses, and verifies the certificate of `https` for the authority's host.
 *
 * Rejects with SidekeyError `address_blocked`, `upstream_unreachable`, `upstream_tls`, `upstream_protocol` or
 * `upstream_timeout`.
 */
export interface Dialer {
  /** Connects with TCP, and with TLS for `https`. `alpnProtocol` of the socket is the negotiated protocol. */
  connect(peer: Peer, options?: ConnectOptions): Promise<Socket>;
  /** Connects with TCP only, for a blind tunnel. The socket is half-open: the caller must end our side. */
  connectBlind(authority: Authority): Promise<Socket>;
}

const onlyHttp1 = ['http/1.1'];

/** The options of a connection. */
interface Dialing {
  /** TLS over TCP, with these ALPN protocols; null: only TCP. */
  readonly tls: { readonly protocols: readonly string[] } | null;
  /** True if our side stays open after the other side has ended. */
  readonly allowHalfOpen: boolean;
  readonly onread?: OnReadOpts | undefined;
  readonly signal: AbortSignal;
}

/** The state that all connections of a dialer share. */
interface DialerState {
  readonly handshakes: Handshakes;
  readonly caKey: (host: string) => string | null;
  readonly clock: Clock;
}

/** Creates a dialer that resumes TLS sessions. */
export function createDialer(options: DialerOptions): Dialer {
  const { route, trust, timeoutMs, proxy, caKey = () => null, clock = systemClock } = options;
  const state: DialerState = { handshakes: { trust, sessions: sessionsByIdentity(clock) }, caKey, clock };

  async function dial(peer: Peer, how: Omit<Dialing, 'signal'>): Promise<Socket> {
    const signal = AbortSignal.timeout(timeoutMs);
    const dialing = { ...how, signal };
    let selected: Route | undefined;
    try {
      selected = await orAborted(route(peer), signal);
      if (selected.kind === 'direct')
        return readBeforeFailing(await connectDirect(peer, selected.addresses, dialing, state));
      if (proxy === null) throw new TypeError('there is no parent proxy');
      return readBeforeFailing(await connectThrough(peer, selected, dialing, { ...proxy, ...state }));
    } catch (error) {
      if (!signal.aborted || error !== signal.reason) throw error;
      const isTunnel = selected !== undefined && selected.kind !== 'direct';
      throw timedOut(peer, timeoutMs, isTunnel ? (proxy?.proxy.authority ?? null) : null);
    }
  }

  return {
    connect: (peer, { onread, protocols = onlyHttp1 } = {}) =>
      dial(peer, { tls: peer.scheme === 'https' ? { protocols } : null, allowHalfOpen: false, onread }),
    connectBlind: (authority) => dial(authority, { tls: null, allowHalfOpen: true }),
  };
}

/** Milliseconds between attempts through the parent proxy. It makes its own attempts before it answers. */
const tunnelDelayMs = 1_000;

/**
 * Connects through a tunnel of the parent proxy (RFC 9110 §9.3.6), on a new connection, even for `http`.
 *
 * Rejects with SidekeyError `upstream_unreachable`, `upstream_protocol`, `upstream_tls` or `address_blocked`,
 * or with the signal's reason.
 */
async function connectThrough(
  peer: Peer,
  route: Exclude<Route, { kind: 'direct' }>,
  { tls, allowHalfOpen, onread, signal }: Dialing,
  { proxy, addresses, ...state }: ParentProxyRoute & DialerState,
): Promise<Socket> {
  const attempt = async (host: string, given: AbortSignal): Promise<Socket> => {
    const proxyTls = proxy.authority.scheme === 'https' ? { protocols: onlyHttp1 } : null;
    const dialing = { tls: proxyTls, allowHalfOpen, signal: given };
    const socket = await orAborted(addresses(), given)
      .then((found) => connectDirect(proxy.authority, found, dialing, state))
      .catch((error: unknown) => {
        throw proxyUnreachable(error);
      });
    const target = `${host}:${peer.port}`;
    await openTunnel(socket, proxy, { target, to: authorityText(peer), signal: given });
    return socket;
  };
  const tunnel = await race(tunnelHosts(peer, route), {
    attempt,
    delayMs: tunnelDelayMs,
    clock: state.clock,
    signal,
    // Any other failure between Sidekey and the proxy would repeat for every address.
    isFinal: (error) => !(error instanceof TunnelRefused),
  }).catch((error: unknown) => {
    throw error instanceof AllFailed ? error.reasons[0] : error;
  });
  const socket = tls === null ? tunnel : openTls(peer, { socket: tunnel }, state.handshakes, tls);
  if (tls !== null) await handshakeDone(socket, peer, signal, state);
  if (onread !== undefined) adaptOnread(socket, onread);
  return socket;
}

function tunnelHosts(authority: Authority, route: Exclude<Route, { kind: 'direct' }>): readonly string[] {
  if (route.kind === 'named tunnel') return [authority.host];
  return interleave(route.addresses).map(({ address, family }) => (family === 6 ? `[${address}]` : address));
}

/** Delivers the bytes of an existing socket to `onread`, as if created with it. Costs a copy. */
export function adaptOnread(socket: Socket, onread: OnReadOpts): void {
  const into = typeof onread.buffer === 'function' ? onread.buffer() : onread.buffer;
  socket.on('data', (chunk: Buffer) => {
    for (let at = 0; at < chunk.length; at += into.length) {
      const piece = chunk.subarray(at, at + into.length);
      into.set(piece);
      // The rest of the chunk is delivered even after a pause.
      if (!onread.callback(piece.length, into)) socket.pause();
    }
  });
}

/** Milliseconds until the next address is tried in parallel to a silent one (RFC 8305 §8). */
const attemptDelayMs = 250;

/**
 * Connects to the address that answers first. Only that connection makes a TLS handshake.
 *
 * Rejects with SidekeyError `upstream_unreachable` or `upstream_tls`, or with the signal's reason.
 */
async function connectDirect(
  peer: Peer,
  addresses: readonly CheckedAddress[],
  { tls, allowHalfOpen, onread, signal }: Dialing,
  state: DialerState,
): Promise<Socket> {
  const { handshakes, clock } = state;
  const ordered = interleave(addresses);
  const attempt = async (address: CheckedAddress, given: AbortSignal): Promise<Socket> => {
    // Without a name, so that node makes no look-up.
    const target = {
      host: address.address,
      family: address.family,
      port: peer.port,
      allowHalfOpen,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: 60_000,
      autoSelectFamily: false,
    };
    const socket =
      tls === null
        ? connectTcp(onread === undefined ? target : { ...target, onread })
        : openTls(peer, target, handshakes, { ...tls, onread });
    await waitForEvent(socket, 'connect', given);
    return socket;
  };
  const socket = await race(ordered, { attempt, delayMs: attemptDelayMs, clock, signal }).catch(
    (error: unknown) => {
      throw error instanceof AllFailed ? unreachable(peer, ordered, error.reasons) : error;
    },
  );
  if (tls !== null) await handshakeDone(socket, peer, signal, state);
  return socket;
}

/** Resolves after the handshake and the verification of the certificate. Rejects like `connectDirect`. */
async function handshakeDone(
  socket: Socket,
  peer: Peer,
  signal: AbortSignal,
  { caKey }: DialerState,
): Promise<void> {
  try {
    await waitForEvent(socket, 'secureConnect', signal);
  } catch (error) {
    throw error === signal.reason ? error : tlsFault(peer, error as Error, { caKey: caKey(peer.host) });
  }
}

/** Settles like the promise, or rejects with the signal's reason if that is aborted first. */
function orAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason as Error);
    if (signal.aborted) abort();
    else signal.addEventListener('abort', abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}

/** Maximum number of addresses in a message. The first ones explain the rest. */
const maxNamed = 3;

/** Returns the error for a host without a reachable address, with the reason of each address. */
function unreachable(
  authority: Authority,
  addresses: readonly CheckedAddress[],
  causes: readonly Error[],
): SidekeyError {
  const reasons = addresses.map(({ address }, at) => `${address}: ${reasonOf(causes[at])}`);
  const more = reasons.length > maxNamed ? `, and ${reasons.length - maxNamed} more` : '';
  const why = reasons.length === 1 ? reasonOf(causes[0]) : `${reasons.slice(0, maxNamed).join(', ')}${more}`;
  const sentence = `${nameOf(authority)} cannot be reached (${why}).`;
  return new SidekeyError('upstream_unreachable', sentence, { cause: causes[0] });
}

/** Names the parent proxy in the error, so that it is not mistaken for the requested host. */
function proxyUnreachable(error: unknown): unknown {
  if (!(error instanceof SidekeyError) || error.code === 'address_blocked') return error;
  const { code, message, hint } = error;
  const isDefault = hint === failures[code].hint;
  return new SidekeyError(code, `The proxy of upstream.proxy cannot be used: ${message}`, {
    hint: isDefault ? 'check upstream.proxy, or what upstream.no_proxy leaves to it' : hint,
    cause: error,
  });
}

/** @param through the parent proxy of the route, or null */
function timedOut(authority: Authority, ms: number, through: Authority | null): SidekeyError {
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

/** Alternates families, that of the first address first: a dead one costs one attempt (RFC 8305 §4). */
export function interleave(addresses: readonly CheckedAddress[]): readonly CheckedAddress[] {
  const first = addresses[0]?.family;
  const preferred = addresses.filter(({ family }) => family === first);
  const others = addresses.filter(({ family }) => family !== first);
  if (others.length === 0) return addresses;
  const longest = Math.max(preferred.length, others.length);
  return Array.from({ length: longest }, (_, at) => [preferred[at], others[at]])
    .flat()
    .filter((address) => address !== undefined);
}

interface RaceOptions<T, C> {
  /** Tries one candidate. If the signal is aborted, gives up and leaves nothing open. */
  readonly attempt: (candidate: C, signal: AbortSignal) => Promise<T>;
  /** Milliseconds until the next attempt starts in parallel to a pending one. */
  readonly delayMs: number;
  readonly clock: Clock;
  /** Signal that ends the race. */
  readonly signal: AbortSignal;
  /** Reports whether all other attempts would fail with this error too. */
  readonly isFinal?: (error: unknown) => boolean;
}

/** All attempts failed. The reasons are in the order of the attempts. */
export class AllFailed extends Error {
  readonly reasons: readonly Error[];

  constructor(reasons: readonly Error[]) {
    super('every attempt failed', { cause: reasons[0] });
    this.reasons = reasons;
  }
}

/**
 * Runs staggered attempts (Happy Eyeballs, RFC 8305 §5): the next one starts when one has failed, or is
 * pending for `delayMs`. The first success wins, and aborts the other attempts.
 *
 * Rejects with the signal's reason, with a final error, or with `AllFailed`.
 */
export async function race<T extends { destroy(): unknown }, C>(
  candidates: readonly C[],
  { attempt, delayMs, clock, signal, isFinal = () => false }: RaceOptions<T, C>,
): Promise<T> {
  const [only] = candidates;
  if (candidates.length === 1 && only !== undefined) {
    return attempt(only, signal).catch((error: unknown) => {
      throw signal.aborted || isFinal(error) ? error : new AllFailed([error as Error]);
    });
  }
  const losers = new AbortController();
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  const reasons: Error[] = [];
  let tried = 0;
  let failed = 0;
  let over = false;
  let cancelNext: (() => void) | null = null;
  const end = () => {
    over = true;
    cancelNext?.();
    signal.removeEventListener('abort', abort);
    losers.abort();
  };
  const abort = () => {
    end();
    reject(signal.reason as Error);
  };
  const next = () => {
    cancelNext?.();
    const at = tried++;
    if (tried < candidates.length) cancelNext = clock.after(delayMs, next);
    attempt(candidates[at] as C, losers.signal).then(won, (error: unknown) => lost(at, error));
  };
  const won = (it: T) => {
    if (over) {
      it.destroy();
      return;
    }
    end();
    resolve(it);
  };
  const lost = (at: number, error: unknown) => {
    if (over) return;
    reasons[at] = error as Error;
    failed += 1;
    if (isFinal(error)) {
      end();
      reject(error);
    } else if (tried < candidates.length) next();
    else if (failed === candidates.length) {
      end();
      reject(new AllFailed(reasons));
    }
  };
  signal.addEventListener('abort', abort, { once: true });
  if (signal.aborted) abort();
  else next();
  return promise;
}
