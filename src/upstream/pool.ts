import type { Socket } from 'node:net';
import { SidekeyError } from '../lib/errors.ts';
import { type Clock, systemClock } from '../lib/timers.ts';
import { type Authority, authorityText } from '../policy/authority.ts';
import type { Limits } from '../policy/limits.ts';
import type { Peer } from '../policy/peer.ts';
import { type Dialer, adaptOnread } from './dialer.ts';
import { type ConnectionOwner, type ConnectionUser, PooledConnection } from './h1-connection.ts';
import { ByAuthority, Queue } from './pool-map.ts';
import { discard } from './tls.ts';

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
interface ConnectionsOptions {
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

/** An upstream that says for how long it keeps a connection closes it at that very moment: we do so before. */
const haste = 1_000;

/** What the connections to all peers have in common. */
interface House {
  readonly dialer: Dialer;
  readonly limits: Pick<Limits, 'upstream_connections' | 'upstream_wait' | 'upstream_keep_alive'>;
  readonly clock: Clock;
  /** Whether nothing is kept for this peer any more. */
  isClosing(peer: Peer): boolean;
  /** Nothing is left there. */
  emptied(peer: Peer, shelf: Shelf): void;
}

/** All connections to one peer, and who waits for them. */
class Shelf implements ConnectionOwner {
  readonly #peer: Peer;
  readonly #house: House;
  /** The last used at the end. */
  readonly #idle: PooledConnection[] = [];
  /** Released in this turn of the event loop, or in the one before. */
  #settling: { readonly connection: PooledConnection; readonly idleMs: number; turns: number }[] = [];
  readonly #waiting: Queue<ConnectionUser>;
  /** Connections that there are, and that are being made. */
  #count = 0;
  #dialing = 0;

  constructor(peer: Peer, house: House) {
    this.#peer = peer;
    this.#house = house;
    this.#waiting = new Queue({
      clock: house.clock,
      waitMs: house.limits.upstream_wait,
      ahead: () => this.#dialing,
      refuse: (late) => this.#refuse(late),
    });
  }

  request(user: ConnectionUser, fresh: boolean): void {
    const at = fresh ? -1 : this.#idle.findLastIndex((it) => it.serves(user));
    if (at >= 0) {
      this.#idle.splice(at, 1)[0]!.lend(user);
      return;
    }
    // First of all: with its last connection gone, a place where nobody waits is no more.
    this.#waiting.add(user);
    // What rests is not for this user, who may need its place.
    if (this.#isFull) this.#idle[0]?.destroy();
    this.#dial();
    this.#waiting.watch();
  }

  leave(user: ConnectionUser): void {
    this.#waiting.remove(user);
    this.#checkEmpty();
  }

  /** Takes a connection that was made to find out what is spoken, and that nobody has read from; or closes it. */
  adopt(socket: Socket): void {
    const { limits, clock } = this.#house;
    if (this.#house.isClosing(this.#peer) || this.#isFull) {
      discard(socket);
      this.#checkEmpty();
      return;
    }
    this.#count += 1;
    const connection = new PooledConnection(this, clock);
    adaptOnread(socket, connection.onread);
    connection.attach(socket);
    if (connection.isOpen) this.#offer(connection, limits.upstream_keep_alive);
  }

  clear(): void {
    for (let idle = this.#idle.pop(); idle !== undefined; idle = this.#idle.pop()) idle.destroy();
    this.#checkEmpty();
  }

  /**
   * It serves again in the next turn of the event loop. What has come together with the end of an answer is read by then,
   * and ends the connection: it must not be taken for the answer to the next request.
   */
  released(connection: PooledConnection, idleMs: number | null, wasPaused: boolean): void {
    const most = this.#house.limits.upstream_keep_alive;
    const keep = idleMs === null ? most : Math.min(most, idleMs - haste);
    if (keep <= 0) {
      connection.destroy();
      return;
    }
    if (this.#settling.length === 0) setImmediate(() => this.#settle());
    this.#settling.push({ connection, idleMs: keep, turns: wasPaused ? 2 : 1 });
  }

  closed(connection: PooledConnection): void {
    this.#count -= 1;
    const at = this.#idle.indexOf(connection);
    if (at >= 0) this.#idle.splice(at, 1);
    // In the next turn: those who leave together are not to have connections made for each other.
    if (this.#waiting.size > 0) setImmediate(() => this.#dial());
    this.#checkEmpty();
  }

  /** Makes as many connections as are waited for and may be made. */
  #dial(): void {
    while (this.#dialing + this.#settling.length < this.#waiting.size && !this.#isFull) void this.#dialOne();
  }

  async #dialOne(): Promise<void> {
    this.#count += 1;
    this.#dialing += 1;
    const connection = new PooledConnection(this, this.#house.clock);
    const { onread } = connection;
    const made = await this.#house.dialer.connect(this.#peer, { onread }).catch(asError);
    this.#dialing -= 1;
    if (made instanceof Error) {
      this.#count -= 1;
      this.#waiting.next()?.unconnected(made);
    } else {
      connection.attach(made);
      if (connection.isOpen) this.#offer(connection, this.#house.limits.upstream_keep_alive);
      else this.#waiting.next()?.unconnected(spokeFirst(this.#peer));
    }
    this.#dial();
    this.#checkEmpty();
  }

  #settle(): void {
    const settling = this.#settling;
    this.#settling = [];
    for (const it of settling) {
      it.turns -= 1;
      if (it.turns > 0 && it.connection.isOpen) this.#settling.push(it);
      else if (it.connection.isOpen) this.#offer(it.connection, it.idleMs);
    }
    if (this.#settling.length > 0) setImmediate(() => this.#settle());
    this.#dial();
  }

  #offer(connection: PooledConnection, idleMs: number): void {
    const { first } = this.#waiting;
    // Its place goes to who has waited longest, though it serves somebody behind.
    const yields = first !== undefined && !connection.serves(first) && this.#isFull && !this.#isDialingForAll;
    const user = yields ? undefined : this.#waiting.next((it) => connection.serves(it));
    if (user !== undefined) connection.lend(user);
    else if (yields || this.#house.isClosing(this.#peer)) connection.destroy();
    else {
      this.#idle.push(connection);
      connection.rest(idleMs);
    }
  }

  get #isFull(): boolean {
    return this.#count >= this.#house.limits.upstream_connections;
  }

  get #isDialingForAll(): boolean {
    return this.#dialing >= this.#waiting.size;
  }

  #refuse(late: readonly ConnectionUser[]): void {
    for (const user of late)
      user.unconnected(noConnectionFree(this.#peer, this.#house.limits.upstream_connections));
    this.#checkEmpty();
  }

  #checkEmpty(): void {
    if (this.#waiting.size > 0) return;
    this.#waiting.rest();
    if (this.#count > 0) return;
    this.#waiting.stop();
    this.#house.emptied(this.#peer, this);
  }
}

/** Every connection to an upstream stayed in use while a request waited for one. */
function noConnectionFree(authority: Authority, most: number): SidekeyError {
  const sentence = `All ${most} connections to ${authorityText(authority)} are in use.`;
  return new SidekeyError('overloaded', sentence, {
    hint: 'try again, or raise limits.upstream_connections',
  });
}

function spokeFirst(authority: Authority): SidekeyError {
  return new SidekeyError(
    'upstream_protocol',
    `${authorityText(authority)} spoke, or hung up, before it was asked.`,
  );
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error('the dialer failed', { cause: error });
}
