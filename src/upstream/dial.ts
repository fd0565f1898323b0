import type { OnReadOpts, Socket } from 'node:net';
import type { Authority } from '../policy/authority.ts';
import type { Peer } from '../policy/peer.ts';
import { connectDirect, type Dialing } from './connect-direct.ts';
import { connectThrough, type ProxyWay } from './connect-through.ts';
import { systemClock, type Clock } from './deadline.ts';
import { tooLate } from './dial-failure.ts';
import type { Handshakes } from './handshake.ts';
import type { Route, Router } from './route.ts';
import { sessionsByIdentity } from './tls-sessions.ts';
import { orAborted } from './until.ts';

/** What a dialer is made of. */
export interface DialerOptions {
  readonly route: Router;
  /** See `Handshakes`. */
  readonly trust: Handshakes['trust'];
  /** Milliseconds for name look-up, TCP, the tunnel of a proxy and TLS together. */
  readonly timeoutMs: number;
  /** What a way through a proxy is made with; null: there is none. */
  readonly proxy: ProxyWay | null;
  /** Default: that of the process. */
  readonly clock?: Clock;
}

/** What a connection is made with. */
export interface ConnectOptions {
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
