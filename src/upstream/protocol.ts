import { LRUCache } from 'lru-cache';
import type { Clock } from '../lib/timers.ts';
import type { Authority } from '../policy/authority.ts';
import type { Peer } from '../policy/peer.ts';
import { peerKey } from './host-pools.ts';

/** A protocol by its ALPN name (RFC 7301 §6, RFC 9113 §3.2). */
export type Protocol = 'h2' | 'http/1.1';

/** The protocol of an upstream, with its extensions. */
export interface NegotiatedProtocol {
  readonly protocol: Protocol;
  /** True if its SETTINGS have ENABLE_CONNECT_PROTOCOL: it accepts WebSockets over HTTP/2 (RFC 8441 §3). */
  readonly extendedConnect: boolean;
}

export const http1: NegotiatedProtocol = { protocol: 'http/1.1', extendedConnect: false };

/** The protocols of upstreams. */
export interface Protocols {
  /**
   * Returns the protocol that this upstream chooses of `h2` and `http/1.1`. Negotiates it where it is not known, and keeps
   * the connection. Never rejects: `http/1.1` if no connection can be made.
   */
  of(authority: Authority): NegotiatedProtocol | Promise<NegotiatedProtocol>;
}

/** The protocols that upstreams chose last. */
export type KnownProtocols = ReturnType<typeof createKnownProtocols>;

const maxKnown = 10_000;

/** Milliseconds after which an upstream that has meanwhile enabled HTTP/2 is asked again. */
const knownForMs = 600_000;

/** Knows nothing yet, and at most 10,000 upstreams, for ten minutes each. */
export function createKnownProtocols(clock: Clock) {
  const known = new LRUCache<string, { readonly negotiated: NegotiatedProtocol; readonly until: number }>({
    max: maxKnown,
  });
  return {
    get(peer: Peer): NegotiatedProtocol | undefined {
      const entry = known.get(peerKey(peer));
      return entry === undefined || entry.until <= clock.now() ? undefined : entry.negotiated;
    },
    learn(peer: Peer, negotiated: NegotiatedProtocol): void {
      known.set(peerKey(peer), { negotiated, until: clock.now() + knownForMs });
    },
    forget: (peer: Peer) => void known.delete(peerKey(peer)),
  };
}

/** @param negotiate makes a connection, once for all concurrent callers, and resolves to its protocol */
export function createProtocols(
  known: KnownProtocols,
  negotiate: (authority: Authority) => Promise<NegotiatedProtocol>,
): Protocols {
  return {
    of(authority) {
      // HTTP/2 without TLS needs prior knowledge (RFC 9113 §3.3).
      if (authority.scheme !== 'https') return http1;
      return known.get(authority) ?? negotiate(authority).catch(() => http1);
    },
  };
}
