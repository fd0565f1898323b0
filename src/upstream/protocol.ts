import { LRUCache } from 'lru-cache';
import { identityOf } from './by-authority.ts';
import type { Authority } from '../policy/authority.ts';
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
  get(authority: Authority): Protocol | undefined;
  learn(authority: Authority, protocol: Protocol): void;
  forget(authority: Authority): void;
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
    get(authority) {
      const entry = known.get(identityOf(authority));
      return entry === undefined || entry.until <= clock.now() ? undefined : entry.protocol;
    },
    learn: (authority, protocol) =>
      void known.set(identityOf(authority), { protocol, until: clock.now() + knownForMs }),
    forget: (authority) => void known.delete(identityOf(authority)),
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
