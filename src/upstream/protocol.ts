import { LRUCache } from 'lru-cache';
import type { Authority } from '../policy/authority.ts';
import type { Peer } from '../policy/peer.ts';
import { keyOf } from './by-authority.ts';
import type { Clock } from './deadline.ts';

/** What is spoken on a connection, by its name in ALPN (RFC 7301 §6, RFC 9113 §3.2). */
export type Protocol = 'h2' | 'http/1.1';

/** Which protocol upstreams speak. */
export interface Protocols {
  /**
   * What this upstream chooses of `h2` and `http/1.1`. Asks it where that is not known, and keeps the connection that was
   * made for it where it is of use. Never rejects: of an upstream that cannot be asked it is `http/1.1`.
   */
  of(authority: Authority): Protocol | Promise<Protocol>;
}

/** What upstreams chose when they were last asked; forgotten after a time, since they may choose anew. */
export interface KnownProtocols {
  get(peer: Peer): Protocol | undefined;
  learn(peer: Peer, protocol: Protocol): void;
  forget(peer: Peer): void;
}

const mostAuthorities = 10_000;

/** So long an upstream that has learned HTTP/2 meanwhile goes on with HTTP/1.1. */
const knownForMs = 600_000;

/** Knows nothing yet, and at most 10,000 authorities, for ten minutes each. */
export function createKnownProtocols(clock: Clock): KnownProtocols {
  const known = new LRUCache<string, { readonly protocol: Protocol; readonly until: number }>({
    max: mostAuthorities,
  });
  return {
    get(peer) {
      const entry = known.get(keyOf(peer));
      return entry === undefined || entry.until <= clock.now() ? undefined : entry.protocol;
    },
    learn: (peer, protocol) => void known.set(keyOf(peer), { protocol, until: clock.now() + knownForMs }),
    forget: (peer) => void known.delete(keyOf(peer)),
  };
}

/**
 * Asks an upstream where that is not known.
 *
 * @param negotiate makes a connection, once for all who ask at a time; keeps it where it can; answers what was chosen
 */
export function createProtocols(
  known: KnownProtocols,
  negotiate: (authority: Authority) => Promise<Protocol>,
): Protocols {
  return {
    of(authority) {
      // HTTP/2 without TLS is only for those who know that of each other (RFC 9113 §3.3).
      if (authority.scheme !== 'https') return 'http/1.1';
      return known.get(authority) ?? negotiate(authority).catch(() => 'http/1.1');
    },
  };
}
