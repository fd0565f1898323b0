import type { Authority } from '../../policy/authority.ts';
import { ByAuthority } from '../by-authority.ts';
import { systemClock, type Clock } from '../deadline.ts';
import type { Connections } from '../connections.ts';
import type { Dialer } from '../dial.ts';
import type { KnownProtocols, Protocol } from '../protocol.ts';
import { SessionShelf, type SessionHouse } from './session-shelf.ts';
import type { StreamUser } from './stream.ts';

/** Streams of HTTP/2 sessions with upstreams. The sessions are kept and shared, every one of them made by the dialer. */
export interface Streams {
  /**
   * Opens the user a stream on a session with this authority, perhaps before this returns; else on the next that has room
   * or is made. It is told by `opened` or `unopened`.
   *
   * @param fresh whether a session that rests is not good enough: one has just turned out to be dead
   */
  request(authority: Authority, user: StreamUser, fresh?: boolean): void;
  /** The user waits no longer. */
  leave(authority: Authority, user: StreamUser): void;
  /** Makes a connection to find out what is spoken, and keeps it if that is HTTP/2. Rejects where none can be made. */
  negotiate(authority: Authority): Promise<Protocol>;
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
    adopt: (authority, socket) => connections.adopt(authority, socket),
    isClosing: () => shelves.isClosing,
    emptied: (authority, shelf) => shelves.emptied(authority, shelf),
  };
  const shelves = new ByAuthority<SessionShelf>((authority) => new SessionShelf(authority, house));
  return {
    request(authority, user, fresh = false) {
      if (known.get(authority) === 'http/1.1') user.unopened('http/1.1');
      else shelves.at(authority).request(user, fresh);
    },
    leave: (authority, user) => shelves.find(authority)?.leave(user),
    negotiate: (authority) => shelves.at(authority).negotiate(),
    close: () => shelves.close(),
  };
}
