import type { Socket } from 'node:net';
import { SidekeyError } from '../../lib/errors.ts';
import { type Clock, Deadline, systemClock } from '../../lib/timers.ts';
import { type Authority, authorityText } from '../policy/authority.ts';
import type { Limits } from '../policy/limits.ts';
import type { Peer } from '../policy/peer.ts';
import { adaptOnread, type Dialer } from './dialer.ts';
import { type ConnectionOwner, type ConnectionUser, PooledConnection } from './h1-connection.ts';
import { discard } from './tls.ts';

/** A pool, and the peer of its connections. */
interface PeerEntry<Pool> {
  readonly peer: Peer;
  readonly pool: Pool;
  /** Removes the listener for the end of the client identity. */
  readonly unwatch: () => void;
}

/** The number of connections of pools. */
interface PoolUsage {
  /** Connections that exist or are being made, including idle ones. */
  readonly open: number;
  readonly idle: number;
  /** Requests that wait for a connection. */
  readonly waiting: number;
}

/** The pools of one kind of connection, one pool for each peer. */
export class PoolsByPeer<Pool extends { closeIdle(): void; usage(): PoolUsage }> {
  /** The pools of each host. Most hosts have one, so a request finds it without building a key. */
  readonly #byHost = new Map<string, PeerEntry<Pool>[]>();
  readonly #make: (peer: Peer) => Pool;
  #closing: PromiseWithResolvers<void> | null = null;

  constructor(make: (peer: Peer) => Pool) {
    this.#make = make;
  }

  /** Returns the pool of this peer. Creates it at its first use. */
  at(peer: Peer): Pool {
    return this.find(peer) ?? this.#add(peer);
  }

  find(peer: Peer): Pool | undefined {
    const entries = this.#byHost.get(peer.host);
    if (entries === undefined) return undefined;
    for (let at = 0; at < entries.length; at += 1) {
      const entry = entries[at]!;
      if (sharesConnections(entry.peer, peer)) return entry.pool;
    }
    return undefined;
  }

  #add(peer: Peer): Pool {
    const pool = this.#make(peer);
    const entry = { peer, pool, unwatch: watchIdentity(pool, peer) };
    const entries = this.#byHost.get(peer.host);
    if (entries === undefined) this.#byHost.set(peer.host, [entry]);
    else entries.push(entry);
    return pool;
  }

  /** Returns the sums of all pools. */
  usage(): PoolUsage {
    const sum = { open: 0, idle: 0, waiting: 0 };
    for (const entries of this.#byHost.values()) {
      for (const { pool } of entries) {
        const { open, idle, waiting } = pool.usage();
        sum.open += open;
        sum.idle += idle;
        sum.waiting += waiting;
      }
    }
    return sum;
  }

  /** Reports whether this peer's connections are no longer kept: the pools close, or its identity ended. */
  isClosing({ identity }: Peer): boolean {
    return this.#closing !== null || identity?.ended.aborted === true;
  }

  /** Removes a pool without connections and waiting users. */
  remove(peer: Peer, pool: Pool): void {
    const entries = this.#byHost.get(peer.host);
    // This peer may already have a newer pool.
    const index = entries?.findIndex((entry) => entry.pool === pool) ?? -1;
    if (entries !== undefined && index >= 0) {
      entries.splice(index, 1)[0]!.unwatch();
      if (entries.length === 0) this.#byHost.delete(peer.host);
    }
    if (this.#byHost.size === 0) this.#closing?.resolve();
  }

  /** Closes idle connections, and keeps no others. Resolves when the last exchange has ended. */
  close(): Promise<void> {
    if (this.#closing === null) {
      this.#closing = Promise.withResolvers();
      for (const { pool } of [...this.#byHost.values()].flat()) pool.closeIdle();
      if (this.#byHost.size === 0) this.#closing.resolve();
    }
    return this.#closing.promise;
  }
}

/**
 * Closes the idle connections of a pool when the client identity of its peer ends. The others close at their
 * release. Returns a function that stops the watch.
 */
function watchIdentity(pool: { closeIdle(): void }, { identity }: Peer): () => void {
  if (identity === undefined) return () => {};
  const close = () => pool.closeIdle();
  identity.ended.addEventListener('abort', close);
  return () => identity.ended.removeEventListener('abort', close);
}

/**
 * Reports whether two peers may share connections: same authority, and same client identity of a grant. Trust
 * anchors are equal for a whole client. A certificate of the config depends only on the authority.
 */
function sharesConnections(one: Peer, other: Peer): boolean {
  return (
    one.host === other.host &&
    one.port === other.port &&
    one.scheme === other.scheme &&
    one.identity?.id === other.identity?.id
  );
}

/** Returns a key that is equal for peers that may share connections, and only for them. */
export function peerKey({ scheme, host, port, identity }: Peer): string {
  const authority = `${scheme}://${host}:${port}`;
  return identity === undefined ? authority : `${authority}#${identity.id}`;
}

/** The parts that the pools of one kind share. */
export interface PoolContext {
  readonly dialer: Dialer;
  readonly clock: Clock;
  readonly limits: Pick<Limits, 'upstream_connections' | 'upstream_wait'>;
  readonly pools: Pick<PoolsByPeer<{ closeIdle(): void; usage(): PoolUsage }>, 'isClosing' | 'remove'>;
}

/** The connections to one peer, for pools of HTTP/1.1 connections and of HTTP/2 sessions. */
export abstract class PeerPool<User, Context extends PoolContext> {
  protected readonly peer: Peer;
  protected readonly context: Context;
  protected readonly waiting: WaitQueue<User>;
  /** Connections that exist or are being made. */
  protected count = 0;
  /** Connections that are being made. */
  protected dialing = 0;

  constructor(peer: Peer, context: Context) {
    this.peer = peer;
    this.context = context;
    this.waiting = new WaitQueue({
      clock: context.clock,
      waitMs: context.limits.upstream_wait,
      expected: () => this.servedByDialing(),
      expired: (users) => {
        for (const user of users) this.refuse(user);
        this.checkEmpty();
      },
    });
  }

  /** Number of waiting users that the connections being made will serve. */
  protected abstract servedByDialing(): number;
  /** Rejects a user after the maximum wait. */
  protected abstract refuse(user: User): void;
  abstract closeIdle(): void;
  /** Number of connections without a user. */
  protected abstract get idle(): number;

  usage(): PoolUsage {
    return { open: this.count, idle: this.idle, waiting: this.waiting.size };
  }

  /** Removes a user that no longer waits. */
  leave(user: User): void {
    this.waiting.remove(user);
    this.checkEmpty();
  }

  protected get isFull(): boolean {
    return this.count >= this.context.limits.upstream_connections;
  }

  protected get isClosing(): boolean {
    return this.context.pools.isClosing(this.peer);
  }

  protected checkEmpty(): void {
    if (this.waiting.size > 0) return;
    this.waiting.stop(this.count === 0);
    if (this.count === 0) this.context.pools.remove(this.peer, this);
  }
}

interface WaitQueueOptions<User> {
  readonly clock: Clock;
  /** Maximum wait of a user, in milliseconds. */
  readonly waitMs: number;
  /** Number of first users that connections being made will serve. Their time does not run. */
  readonly expected: () => number;
  /** Receives users that waited too long. They are no longer queued. */
  readonly expired: (users: readonly User[]) => void;
}

/** The users that wait for a connection: first come, first served. */
class WaitQueue<User> {
  readonly #options: WaitQueueOptions<User>;
  /** Users with their deadlines, in milliseconds of the clock. */
  readonly #waiting = new Map<User, number>();
  readonly #deadline: Deadline;

  constructor(options: WaitQueueOptions<User>) {
    this.#options = options;
    this.#deadline = new Deadline(options.clock, () => this.#expire());
  }

  get size(): number {
    return this.#waiting.size;
  }

  get first(): User | undefined {
    return this.#waiting.keys().next().value;
  }

  add(user: User): void {
    const { clock, waitMs } = this.#options;
    this.#waiting.set(user, clock.now() + waitMs);
  }

  remove(user: User): void {
    this.#waiting.delete(user);
  }

  /** Removes and returns the first matching user. */
  next(fits: (user: User) => boolean = () => true): User | undefined {
    for (const user of this.#waiting.keys()) {
      if (!fits(user)) continue;
      this.#waiting.delete(user);
      return user;
    }
    return undefined;
  }

  /** Starts the deadline of the first user whose time runs. */
  watch(): void {
    const due = [...this.#waiting.values()][this.#options.expected()];
    if (due !== undefined) this.#deadline.set(due - this.#options.clock.now());
  }

  /** Clears the deadline of an empty queue. `forGood` also frees its timer. */
  stop(forGood: boolean): void {
    if (forGood) this.#deadline.stop();
    else this.#deadline.clear();
  }

  #expire(): void {
    const now = this.#options.clock.now();
    const late = [...this.#waiting].slice(this.#options.expected()).filter(([, due]) => due <= now);
    const users = late.map(([user]) => user);
    for (const user of users) this.#waiting.delete(user);
    this.#options.expired(users);
    this.watch();
  }
}

/** Converts any rejection of a dialer to an error. */
export function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error('the dialer failed', { cause: error });
}

/** Persistent HTTP/1.1 connections to upstreams (RFC 9112 §9.3). The dialer makes all of them. */
export type Connections = ReturnType<typeof createConnections>;

interface HostPoolContext extends PoolContext {
  readonly limits: Pick<Limits, 'upstream_connections' | 'upstream_wait' | 'upstream_keep_alive'>;
}

interface ConnectionsOptions extends Pick<HostPoolContext, 'dialer' | 'limits'> {
  /** Default: the clock of the process. */
  readonly clock?: Clock;
}

/** Creates the pools, without connections. */
export function createConnections({ dialer, limits, clock = systemClock }: ConnectionsOptions) {
  const pools: PoolsByPeer<HostPool> = new PoolsByPeer(
    (peer) => new HostPool(peer, { dialer, limits, clock, pools }),
  );
  return {
    /**
     * Gets a connection to this peer for the user: the idle one used last, perhaps before this returns,
     * otherwise the next one that becomes idle or is made. Calls `connected` or `unconnected`.
     *
     * @param fresh true: no idle connection, because another idle one was just found dead
     */
    request: (peer: Peer, user: ConnectionUser, fresh = false) => pools.at(peer).request(user, fresh),
    /** Takes over an unread connection that negotiated HTTP/1.1. Closes it if the pool is full. */
    adopt: (peer: Peer, socket: Socket) => pools.at(peer).adopt(socket),
    /** Removes a user that no longer waits. */
    leave: (peer: Peer, user: ConnectionUser) => pools.find(peer)?.leave(user),
    usage: () => pools.usage(),
    /** Keeps no further connection. Resolves when the last exchange has ended. */
    close: () => pools.close(),
  };
}

/** Milliseconds before an upstream's keep-alive timeout at which we stop using its connection. */
const keepAliveMarginMs = 1_000;

/** The HTTP/1.1 connections to one peer. */
class HostPool extends PeerPool<ConnectionUser, HostPoolContext> implements ConnectionOwner {
  /** Idle connections. The one used last is at the end. */
  readonly #idle: PooledConnection[] = [];
  protected get idle(): number {
    return this.#idle.length;
  }

  /** Connections released in this turn of the event loop or the previous one. */
  readonly #settling: (PooledConnection | null)[] = [];
  /** Number of these connections. The array keeps its length: V8 would free the memory of an empty one. */
  #settlingCount = 0;
  readonly #settle = () => this.#settleAll();

  protected servedByDialing(): number {
    return this.dialing;
  }

  protected refuse(user: ConnectionUser): void {
    user.unconnected(noConnectionFree(this.peer, this.context.limits.upstream_connections));
  }

  request(user: ConnectionUser, fresh: boolean): void {
    const connection = fresh ? null : this.#takeIdle(user);
    if (connection !== null) {
      connection.lend(user);
      return;
    }
    // First of all: a pool without waiting users is removed together with its last connection.
    this.waiting.add(user);
    // The idle connections serve other owners, and this user may need the place of one.
    if (this.isFull) this.#idle[0]?.destroy();
    this.#dial();
    this.waiting.watch();
  }

  #takeIdle(user: ConnectionUser): PooledConnection | null {
    const idle = this.#idle;
    for (let at = idle.length - 1; at >= 0; at -= 1) {
      const connection = idle[at]!;
      if (!connection.serves(user)) continue;
      idle.copyWithin(at, at + 1);
      idle.pop();
      return connection;
    }
    return null;
  }

  adopt(socket: Socket): void {
    if (this.isClosing || this.isFull) {
      discard(socket);
      this.checkEmpty();
      return;
    }
    this.count += 1;
    const connection = new PooledConnection(this, this.context.clock);
    adaptOnread(socket, connection.onread);
    connection.attach(socket);
    if (connection.isOpen) this.#offer(connection, this.context.limits.upstream_keep_alive);
  }

  closeIdle(): void {
    for (let idle = this.#idle.pop(); idle !== undefined; idle = this.#idle.pop()) idle.destroy();
    this.checkEmpty();
  }

  /**
   * Makes the connection idle in the next turn of the event loop. Bytes that came with the end of the
   * response are read by then and close the connection: they must not pass for the next response. Node also
   * reports only by then that the request is written, so the response may come first.
   */
  released(connection: PooledConnection, idleMs: number | null, wasPaused: boolean): void {
    const { upstream_keep_alive: maxIdleMs } = this.context.limits;
    const keep = idleMs === null ? maxIdleMs : Math.min(maxIdleMs, idleMs - keepAliveMarginMs);
    if (keep <= 0) {
      connection.destroy();
      return;
    }
    if (this.#settlingCount === 0) setImmediate(this.#settle);
    connection.maxIdleMs = keep;
    connection.turnsToIdle = wasPaused ? 2 : 1;
    this.#settling[this.#settlingCount] = connection;
    this.#settlingCount += 1;
  }

  closed(connection: PooledConnection): void {
    this.count -= 1;
    const at = this.#idle.indexOf(connection);
    if (at >= 0) this.#idle.splice(at, 1);
    // In the next turn: users that leave together must not cause connections for each other.
    if (this.waiting.size > 0) setImmediate(() => this.#dial());
    this.checkEmpty();
  }

  /** Makes as many connections as users wait for and the limit allows. */
  #dial(): void {
    while (this.dialing + this.#settlingCount < this.waiting.size && !this.isFull) void this.#dialOne();
  }

  async #dialOne(): Promise<void> {
    this.count += 1;
    this.dialing += 1;
    const connection = new PooledConnection(this, this.context.clock);
    const { onread } = connection;
    const made = await this.context.dialer.connect(this.peer, { onread }).catch(asError);
    this.dialing -= 1;
    if (made instanceof Error) {
      this.count -= 1;
      this.waiting.next()?.unconnected(made);
    } else {
      connection.attach(made);
      if (connection.isOpen) this.#offer(connection, this.context.limits.upstream_keep_alive);
      else this.waiting.next()?.unconnected(spokeFirst(this.peer));
    }
    this.#dial();
    this.checkEmpty();
  }

  #settleAll(): void {
    const settling = this.#settling;
    const count = this.#settlingCount;
    let stillSettling = 0;
    for (let at = 0; at < count; at += 1) {
      const connection = settling[at]!;
      connection.turnsToIdle -= 1;
      if (!connection.isOpen) continue;
      if (connection.turnsToIdle > 0) settling[stillSettling++] = connection;
      else if (connection.hasUnsent) connection.destroy();
      else this.#offer(connection, connection.maxIdleMs);
    }
    // Other connections may have been released meanwhile.
    for (let at = count; at < this.#settlingCount; at += 1) settling[stillSettling++] = settling[at]!;
    for (let at = stillSettling; at < this.#settlingCount; at += 1) settling[at] = null;
    this.#settlingCount = stillSettling;
    if (stillSettling > 0) setImmediate(this.#settle);
    this.#dial();
  }

  #offer(connection: PooledConnection, idleMs: number): void {
    if (this.waiting.size === 0 && !this.isClosing) {
      this.#idle.push(connection);
      connection.idleFor(idleMs);
      return;
    }
    const { first } = this.waiting;
    // A full pool closes a connection that cannot serve its first user, even if it could serve a later one.
    const yields =
      first !== undefined && !connection.serves(first) && this.isFull && this.dialing < this.waiting.size;
    const user = yields ? undefined : this.waiting.next((it) => connection.serves(it));
    if (user !== undefined) connection.lend(user);
    else if (yields || this.isClosing) connection.destroy();
    else {
      this.#idle.push(connection);
      connection.idleFor(idleMs);
    }
  }
}

/** Returns the error if all connections stayed in use while a request waited for one. */
function noConnectionFree(authority: Authority, count: number): SidekeyError {
  const sentence = `All ${count} connections to ${authorityText(authority)} are in use.`;
  const hint = 'try again, or raise limits.upstream_connections';
  return new SidekeyError('overloaded', sentence, { hint });
}

function spokeFirst(authority: Authority): SidekeyError {
  const sentence = `${authorityText(authority)} sent data or closed the connection before a request.`;
  const hint = 'check the host and the port: a server of another protocol may listen there';
  return new SidekeyError('upstream_protocol', sentence, { hint });
}
