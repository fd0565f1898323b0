import { LRUCache } from 'lru-cache';
import type { Authority } from '../policy/authority.ts';
import type { Peer } from '../policy/peer.ts';
import { keyOf } from './pool-map.ts';
import type { Clock } from '../lib/timers.ts';

/** What is spoken on a connection, by its name in ALPN (RFC 7301 §6, RFC 9113 §3.2). */
export type Protocol = 'h2' | 'http/1.1';

/** What an upstream speaks. */
export interface Spoken {
  readonly protocol: Protocol;
  /** Whether it takes WebSockets over HTTP/2: its SETTINGS have ENABLE_CONNECT_PROTOCOL (RFC 8441 §3). */
  readonly extendedConnect: boolean;
}

export const http1: Spoken = { protocol: 'http/1.1', extendedConnect: false };

/** Which protocol upstreams speak. */
export interface Protocols {
  /**
   * What this upstream chooses of `h2` and `http/1.1`. Asks it where that is not known, and keeps the connection that was
   * made for it where it is of use. Never rejects: of an upstream that cannot be asked it is `http/1.1`.
   */
  of(authority: Authority): Spoken | Promise<Spoken>;
}

/** What upstreams chose when they were last asked; forgotten after a time, since they may choose anew. */
export interface KnownProtocols {
  get(peer: Peer): Spoken | undefined;
  learn(peer: Peer, spoken: Spoken): void;
  forget(peer: Peer): void;
}

const mostAuthorities = 10_000;

/** So long an upstream that has learned HTTP/2 meanwhile goes on with HTTP/1.1. */
const knownForMs = 600_000;

/** Knows nothing yet, and at most 10,000 authorities, for ten minutes each. */
export function createKnownProtocols(clock: Clock): KnownProtocols {
  const known = new LRUCache<string, { readonly spoken: Spoken; readonly until: number }>({
    max: mostAuthorities,
  });
  return {
    get(peer) {
      const entry = known.get(keyOf(peer));
      return entry === undefined || entry.until <= clock.now() ? undefined : entry.spoken;
    },
    learn: (peer, spoken) => void known.set(keyOf(peer), { spoken, until: clock.now() + knownForMs }),
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
  negotiate: (authority: Authority) => Promise<Spoken>,
): Protocols {
  return {
    of(authority) {
      // HTTP/2 without TLS is only for those who know that of each other (RFC 9113 §3.3).
      if (authority.scheme !== 'https') return http1;
      return known.get(authority) ?? negotiate(authority).catch(() => http1);
    },
  };
}
