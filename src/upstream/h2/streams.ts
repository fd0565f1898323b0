import type { Peer } from '../../policy/peer.ts';
import { ByAuthority } from '../by-authority.ts';
import { systemClock, type Clock } from '../deadline.ts';
import type { Connections } from '../connections.ts';
import type { Dialer } from '../dial.ts';
import type { KnownProtocols, Spoken } from '../protocol.ts';
import { SessionShelf, type SessionHouse } from './session-shelf.ts';
import type { StreamUser } from './stream.ts';

/** Streams of HTTP/2 sessions with upstreams. The sessions are kept and shared, every one of them made by the dialer. */
export interface Streams {
  /**
   * Opens the user a stream on a session with this peer, perhaps before this returns; else on the next that has room
   * or is made. It is told by `opened` or `unopened`.
   *
   * @param fresh whether a session that rests is not good enough: one has just turned out to be dead
   */
  request(peer: Peer, user: StreamUser, fresh?: boolean): void;
  /** The user waits no longer. */
  leave(peer: Peer, user: StreamUser): void;
  /** Makes a connection to find out what is spoken, and keeps it if that is HTTP/2. Rejects where none can be made. */
  negotiate(peer: Peer): Promise<Spoken>;
  /** Keeps nothing any more; resolves when what is under way has ended. */
  close(): Promise<void>;
}

/** What sessions are made and kept by. */
export interface StreamsOptions {
  readonly dialer: Dialer;
  readonly limits: SessionHouse['limits'];
  readonly known: KnownProtocols;
  /** For a connection that turned out to speak HTTP/1.1. */
  readonly connections: Pick<Connections, 'adopt'>;
  /** Default: that of the process. */
  readonly clock?: Clock;
}

/** Connects to nobody yet. */
export function createStreams(options: StreamsOptions): Streams {
  const { dialer, limits, known, connections, clock = systemClock } = options;
  const house: SessionHouse = {
    dialer,
    limits,
    known,
    clock,
    adopt: (peer, socket) => connections.adopt(peer, socket),
    isClosing: (peer) => shelves.isClosing(peer),
    emptied: (peer, shelf) => shelves.emptied(peer, shelf),
  };
  const shelves = new ByAuthority<SessionShelf>((peer) => new SessionShelf(peer, house));
  return {
    request(peer, user, fresh = false) {
      if (known.get(peer)?.protocol === 'http/1.1') user.unopened('http/1.1');
      else shelves.at(peer).request(user, fresh);
    },
    leave: (peer, user) => shelves.find(peer)?.leave(user),
    negotiate: (peer) => shelves.at(peer).negotiate(),
    close: () => shelves.close(),
  };
}
