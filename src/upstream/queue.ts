import { Deadline, type Clock } from './deadline.ts';

/** What a queue is made of. */
export interface QueueOptions<User> {
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
