import { LRUCache } from 'lru-cache';
import type { ClientIdentity, Peer } from '../policy/peer.ts';
import type { Clock } from './deadline.ts';

/** A TLS session that can be resumed. */
export interface TlsSession {
  readonly bytes: Buffer;
  /** By the clock: when a certificate is to be seen again. */
  readonly until: number;
}

/** TLS sessions to be resumed, each with the one authority that it was made with. */
export interface TlsSessions {
  /**
   * The newest, which is gone then, unless it is the last. A ticket used twice tells those who watch that two connections
   * are of one client (RFC 8446 §C.4), so a fresh one is better; but many servers give none when one is used, and our
   * connections all come from one address anyway.
   */
  take(authority: string): TlsSession | undefined;
  /**
   * Keeps a session of a connection whose certificate was verified.
   *
   * @param from what the connection itself has resumed; undefined: its certificate was seen
   */
  keep(authority: string, bytes: Buffer, from: TlsSession | undefined): void;
}

const mostAuthorities = 1_000;
/** Of those that one identity is shown to: the audience of a grant is a few hosts. */
const mostOfIdentity = 50;

/** A server gives one or two with a handshake; more are there after a burst. */
const mostOfOne = 4;

/**
 * A handshake that resumes shows no certificate: neither its end nor its host is looked at. Each may give new tickets, so
 * without a bound a certificate seen once would do for ever.
 */
const longestMs = 3_600_000;

/** Keeps four for each of the 1,000 authorities last used (or as many as are said), for an hour after the certificate was seen. */
export function createTlsSessions(clock: Clock, most = mostAuthorities): TlsSessions {
  const kept = new LRUCache<string, readonly TlsSession[]>({ max: most });
  return {
    take(authority) {
      const now = clock.now();
      // The newest may go back further than one before it.
      const valid = (kept.get(authority) ?? []).filter(({ until }) => until > now);
      const newest = valid.at(-1);
      if (valid.length > 1) kept.set(authority, valid.slice(0, -1));
      return newest;
    },
    keep(authority, bytes, from) {
      const session = { bytes, until: from?.until ?? clock.now() + longestMs };
      kept.set(authority, [...(kept.get(authority) ?? []), session].slice(-mostOfOne));
    },
  };
}

/**
 * The sessions that may be resumed with a peer. A session stands for the certificate that it was made with, so those of one
 * identity are out of reach of every other, and gone from memory together with it.
 */
export function sessionsByIdentity(clock: Clock): (peer: Peer) => TlsSessions {
  const common = createTlsSessions(clock);
  const own = new WeakMap<ClientIdentity, TlsSessions>();
  return ({ identity }) => {
    if (identity === undefined) return common;
    let sessions = own.get(identity);
    if (sessions === undefined) own.set(identity, (sessions = createTlsSessions(clock, mostOfIdentity)));
    return sessions;
  };
}
