import type { Authority } from '../policy/authority.ts';
import type { ConnectionUser } from './connection.ts';
import { systemClock, type Clock } from './deadline.ts';
import type { Dialer } from './dial.ts';
import { Shelf, type House } from './shelf.ts';

/** Connections to upstreams that are kept and used again, every one of them made by the dialer. */
export interface Connections {
  /**
   * Finds the user a connection to this authority: one that rests, the last used first, perhaps before this returns; else
   * the next that comes free or is made. It is told by `connected` or `unconnected`.
   *
   * @param fresh whether one that rests is not good enough: another such has just turned out to be dead
   */
  request(authority: Authority, user: ConnectionUser, fresh?: boolean): void;
  /** The user waits no longer. */
  leave(authority: Authority, user: ConnectionUser): void;
  /** Keeps nothing any more; resolves when what is under way has ended. */
  close(): Promise<void>;
}

/** What connections are made and kept by. */
export interface ConnectionsOptions {
  readonly dialer: Dialer;
  readonly limits: House['limits'];
  /** Default: that of the process. */
  readonly clock?: Clock;
}

/** Connects to nobody yet. */
export function createConnections({ dialer, limits, clock = systemClock }: ConnectionsOptions): Connections {
  const shelves = new Map<string, Shelf>();
  let closing: PromiseWithResolvers<void> | null = null;

  const house: House = {
    dialer,
    limits,
    clock,
    isClosing: () => closing !== null,
    emptied(key, shelf) {
      // Another may stand in its place by now.
      if (shelves.get(key) === shelf) shelves.delete(key);
      if (shelves.size === 0) closing?.resolve();
    },
  };
  return {
    request(authority, user, fresh = false) {
      const key = identityOf(authority);
      let shelf = shelves.get(key);
      if (shelf === undefined) shelves.set(key, (shelf = new Shelf(key, authority, house)));
      shelf.request(user, fresh);
    },
    leave(authority, user) {
      shelves.get(identityOf(authority))?.leave(user);
    },
    close() {
      if (closing === null) {
        closing = Promise.withResolvers();
        for (const shelf of shelves.values()) shelf.clear();
        if (shelves.size === 0) closing.resolve();
      }
      return closing.promise;
    },
  };
}

/**
 * Whom a connection was made to and verified for. Nothing else decides what is sent on it: trust is the same for all
 * connections of one exit, and our own certificate, if there is one, follows from the authority.
 */
function identityOf({ scheme, host, port }: Authority): string {
  return `${scheme}://${host}:${port}`;
}
