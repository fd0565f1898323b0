import { type Clock, Deadline } from '../lib/timers.ts';
import type { Limits } from '../policy/limits.ts';
import type { Peer } from '../policy/peer.ts';
import type { Dialer } from './dialer.ts';

/** The pools of one kind of connection, one pool for each peer. */
export class PoolsByPeer<Pool extends { closeIdle(): void }> {
  readonly #pools = new Map<string, Pool>();
  readonly #make: (peer: Peer) => Pool;
  /** Removers of the listeners for the end of client identities. */
  readonly #unwatch = new Map<string, () => void>();
  #closing: PromiseWithResolvers<void> | null = null;

  constructor(make: (peer: Peer) => Pool) {
    this.#make = make;
  }

  /** The pool of this peer, created at its first use. */
  at(peer: Peer): Pool {
    const key = peerKey(peer);
    let pool = this.#pools.get(key);
    if (pool === undefined) {
      this.#pools.set(key, (pool = this.#make(peer)));
      this.#watchIdentity(key, pool, peer);
    }
    return pool;
  }

  find(peer: Peer): Pool | undefined {
    return this.#pools.get(peerKey(peer));
  }

  /** Reports whether connections to this peer are no longer kept: all pools close, or its client identity has ended. */
  isClosing({ identity }: Peer): boolean {
    return this.#closing !== null || identity?.ended.aborted === true;
  }

  /** Removes a pool without connections and waiting users. */
  remove(peer: Peer, pool: Pool): void {
    const key = peerKey(peer);
    // A newer pool may have this key by now.
    if (this.#pools.get(key) === pool) {
      this.#pools.delete(key);
      this.#unwatch.get(key)?.();
      this.#unwatch.delete(key);
    }
    if (this.#pools.size === 0) this.#closing?.resolve();
  }

  /** Returns when an identity ends, idle connections close at once, the others when they are released. */
  #watchIdentity(key: string, pool: Pool, { identity }: Peer): void {
    if (identity === undefined) return;
    const close = () => pool.closeIdle();
    identity.ended.addEventListener('abort', close);
    this.#unwatch.set(key, () => identity.ended.removeEventListener('abort', close));
  }

  /** Closes idle connections and keeps no others. Resolves when the last exchange has ended. */
  close(): Promise<void> {
    if (this.#closing === null) {
      this.#closing = Promise.withResolvers();
      for (const pool of this.#pools.values()) pool.closeIdle();
      if (this.#pools.size === 0) this.#closing.resolve();
    }
    return this.#closing.promise;
  }
}

/**
 * The key of connections that may be shared: the authority, and the client identity that the certificate of a grant
 * gives. All connections of one client have the same trust anchors; a certificate of the config follows from the authority.
 */
export function peerKey({ scheme, host, port, identity }: Peer): string {
  const authority = `${scheme}://${host}:${port}`;
  return identity === undefined ? authority : `${authority}#${identity.id}`;
}

/** The parts that the pools of one kind share. */
export interface PoolContext {
  readonly dialer: Dialer;
  readonly clock: Clock;
  readonly limits: Pick<Limits, 'upstream_connections' | 'upstream_wait'>;
  readonly pools: Pick<PoolsByPeer<{ closeIdle(): void }>, 'isClosing' | 'remove'>;
}

/** The connections to one peer: what pools of HTTP/1.1 connections and of HTTP/2 sessions have in common. */
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
  /** Tells a user that no connection became free in time. */
  protected abstract refuse(user: User): void;
  abstract closeIdle(): void;

  /** The user no longer waits. */
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
  /** Milliseconds that a user waits at most. */
  readonly waitMs: number;
  /** Number of first users that connections being made will serve: their time does not run. */
  readonly expected: () => number;
  /** Receives users that waited too long; they are no longer queued. */
  readonly expired: (users: readonly User[]) => void;
}

/** The users that wait for a connection, first come, first served. */
class WaitQueue<User> {
  readonly #options: WaitQueueOptions<User>;
  /** Each user, and when it is due. */
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

  /** Removes and returns the first user that fits. */
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

  /** Clears the deadline of an empty queue; `forGood` also frees its timer. */
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

/** The error of a dialer, whatever it rejected with. */
export function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error('the dialer failed', { cause: error });
}
