import { type Clock, Deadline } from '../lib/timers.ts';
import type { ClientIdentity, Peer } from '../policy/peer.ts';

/** What is kept for one peer. */
interface Kept {
  /** Keeps nothing that nobody uses any more. */
  clear(): void;
}

/** Connections by whom they were made to and as whom, each kind of them in a place of its own for each such peer. */
export class ByAuthority<Shelf extends Kept> {
  readonly #shelves = new Map<string, Shelf>();
  readonly #make: (peer: Peer) => Shelf;
  /** Forgets to listen for the end of a peer's identity. */
  readonly #unheeded = new Map<string, () => void>();
  #closing: PromiseWithResolvers<void> | null = null;

  /** @param make makes the place for a peer that has none; it is to say `emptied` when nothing is left there */
  constructor(make: (peer: Peer) => Shelf) {
    this.#make = make;
  }

  /** That of this peer, made where there is none. */
  at(peer: Peer): Shelf {
    const key = keyOf(peer);
    let shelf = this.#shelves.get(key);
    if (shelf === undefined) {
      this.#shelves.set(key, (shelf = this.#make(peer)));
      if (peer.identity !== undefined) this.#heed(key, shelf, peer.identity);
    }
    return shelf;
  }

  find(peer: Peer): Shelf | undefined {
    return this.#shelves.get(keyOf(peer));
  }

  /** Whether nothing is kept for this peer any more: at all, or because its identity has ended. */
  isClosing({ identity }: Peer): boolean {
    return this.#closing !== null || identity?.ended.aborted === true;
  }

  emptied(peer: Peer, shelf: Shelf): void {
    const key = keyOf(peer);
    // Another may stand in its place by now.
    if (this.#shelves.get(key) === shelf) {
      this.#shelves.delete(key);
      this.#unheeded.get(key)?.();
      this.#unheeded.delete(key);
    }
    if (this.#shelves.size === 0) this.#closing?.resolve();
  }

  /** What rests is closed when its identity ends; what is in use then, when it comes back. */
  #heed(key: string, shelf: Shelf, { ended }: ClientIdentity): void {
    const clear = () => shelf.clear();
    ended.addEventListener('abort', clear);
    this.#unheeded.set(key, () => ended.removeEventListener('abort', clear));
  }

  /** Keeps nothing any more; resolves when what is under way has ended. */
  close(): Promise<void> {
    if (this.#closing === null) {
      this.#closing = Promise.withResolvers();
      for (const shelf of this.#shelves.values()) shelf.clear();
      if (this.#shelves.size === 0) this.#closing.resolve();
    }
    return this.#closing.promise;
  }
}

/**
 * Whom a connection was made to and verified for, and as whom. Nothing else decides what is sent on it: trust is the same
 * for all connections of one exit, and a certificate of ours that no grant brings follows from the authority.
 */
export function keyOf({ scheme, host, port, identity }: Peer): string {
  const authority = `${scheme}://${host}:${port}`;
  return identity === undefined ? authority : `${authority}#${identity.id}`;
}

/** What a queue is made of. */
interface QueueOptions<User> {
  readonly clock: Clock;
  /** For how long who is in it waits, in milliseconds. */
  readonly waitMs: number;
  /** How many of the first are being seen to: their time does not run. */
  readonly ahead: () => number;
  /** These have waited for too long, and are in it no more. */
  readonly refuse: (users: readonly User[]) => void;
}

/** Who waits for a connection, in order, and until when. */
export class Queue<User> {
  readonly #options: QueueOptions<User>;
  readonly #waiting = new Map<User, number>();
  readonly #patience: Deadline;

  constructor(options: QueueOptions<User>) {
    this.#options = options;
    this.#patience = new Deadline(options.clock, () => this.#refuseLate());
  }

  get size(): number {
    return this.#waiting.size;
  }

  add(user: User): void {
    const { clock, waitMs } = this.#options;
    this.#waiting.set(user, clock.now() + waitMs);
  }

  remove(user: User): void {
    this.#waiting.delete(user);
  }

  /** The first who waits. */
  get first(): User | undefined {
    return this.#waiting.keys().next().value;
  }

  /** Takes the first who waits, and fits, out of it. */
  next(fits: (user: User) => boolean = () => true): User | undefined {
    for (const user of this.#waiting.keys()) {
      if (!fits(user)) continue;
      this.#waiting.delete(user);
      return user;
    }
    return undefined;
  }

  /** Has the first looked after who is not being seen to: the others are answered when that is done. */
  watch(): void {
    let ahead = this.#options.ahead();
    for (const due of this.#waiting.values()) {
      ahead -= 1;
      if (ahead >= 0) continue;
      this.#patience.set(due - this.#options.clock.now());
      return;
    }
  }

  /** Nobody is in it: there is nothing to look after. */
  rest(): void {
    this.#patience.clear();
  }

  /** As `rest`, and nothing of it stays behind. */
  stop(): void {
    this.#patience.stop();
  }

  #refuseLate(): void {
    const now = this.#options.clock.now();
    const late: User[] = [];
    let ahead = this.#options.ahead();
    for (const [user, due] of this.#waiting) {
      ahead -= 1;
      if (ahead < 0 && due <= now) late.push(user);
    }
    for (const user of late) this.#waiting.delete(user);
    this.#options.refuse(late);
    this.watch();
  }
}
