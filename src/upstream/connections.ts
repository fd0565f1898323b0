import type { Socket } from 'node:net';
import type { Peer } from '../policy/peer.ts';
import { ByAuthority } from './by-authority.ts';
import type { ConnectionUser } from './connection.ts';
import { systemClock, type Clock } from './deadline.ts';
import type { Dialer } from './dial.ts';
import { Shelf, type House } from './shelf.ts';

/** Connections to upstreams that are kept and used again, every one of them made by the dialer. */
export interface Connections {
  /**
   * Finds the user a connection to this peer: one that rests, the last used first, perhaps before this returns; else
   * the next that comes free or is made. It is told by `connected` or `unconnected`.
   *
   * @param fresh whether one that rests is not good enough: another such has just turned out to be dead
   */
  request(peer: Peer, user: ConnectionUser, fresh?: boolean): void;
  /** Takes a connection to this peer that speaks HTTP/1.1, and that nobody has read from; closes it where it is too many. */
  adopt(peer: Peer, socket: Socket): void;
  /** The user waits no longer. */
  leave(peer: Peer, user: ConnectionUser): void;
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
  const house: House = {
    dialer,
    limits,
    clock,
    isClosing: (peer) => shelves.isClosing(peer),
    emptied: (peer, shelf) => shelves.emptied(peer, shelf),
  };
  const shelves = new ByAuthority<Shelf>((peer) => new Shelf(peer, house));
  return {
    request: (peer, user, fresh = false) => shelves.at(peer).request(user, fresh),
    adopt: (peer, socket) => shelves.at(peer).adopt(socket),
    leave: (peer, user) => shelves.find(peer)?.leave(user),
    close: () => shelves.close(),
  };
}
