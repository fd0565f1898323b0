import type { Timers } from '../../grants/timers.ts';

/** What a client connection has a limited time for. */
export type Awaited = 'first' | 'head' | 'body' | 'next' | 'close';

/**
 * The one deadline of a connection, and the one timer that stands behind it. To move the deadline away costs no timer: the
 * one that is set wakes early, and sleeps again for the rest. So an exchange that is answered at once costs none.
 */
export class Deadline {
  readonly #timers: Timers;
  readonly #now: () => number;
  readonly #onPassed: (what: Awaited) => void;
  #what: Awaited | null = null;
  #at = 0;
  #wakesAt = Infinity;
  #cancel: (() => void) | null = null;

  /** @param now a clock that goes forward alone, in milliseconds */
  constructor(timers: Timers, now: () => number, onPassed: (what: Awaited) => void) {
    this.#timers = timers;
    this.#now = now;
    this.#onPassed = onPassed;
  }

  /** What is waited for; null: nothing. */
  get what(): Awaited | null {
    return this.#what;
  }

  /** Waits for this, for so many milliseconds from now, and for nothing else. */
  set(what: Awaited, ms: number): void {
    this.#what = what;
    this.#at = this.#now() + ms;
    if (this.#wakesAt <= this.#at) return;
    this.#cancel?.();
    this.#sleep(ms);
  }

  /** Waits for nothing. */
  clear(): void {
    this.#what = null;
  }

  /** Waits no more, and leaves no timer behind. */
  close(): void {
    this.#what = null;
    this.#cancel?.();
    this.#cancel = null;
    this.#wakesAt = Infinity;
  }

  #sleep(ms: number): void {
    this.#wakesAt = this.#now() + ms;
    this.#cancel = this.#timers.after(ms, () => this.#wake());
  }

  #wake(): void {
    this.#cancel = null;
    this.#wakesAt = Infinity;
    const what = this.#what;
    if (what === null) return;
    const left = this.#at - this.#now();
    if (left > 0) {
      // Timers count whole milliseconds, and may wake a little before their time.
      this.#sleep(Math.ceil(left));
      return;
    }
    this.#what = null;
    this.#onPassed(what);
  }
}
