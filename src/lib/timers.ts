/** Waiting, with the clock's timers passed in. */

export interface Timers {
  /** Runs `run` once, `ms` milliseconds from now, unless the function it answers with is called before. */
  after(ms: number, run: () => void): () => void;
}

/** The timers of the process. */
export const systemTimers: Timers = {
  after(ms, run) {
    const timer = setTimeout(run, ms);
    return () => {
      clearTimeout(timer);
    };
  },
};

/** Resolves after `ms` milliseconds, or as soon as the signal is aborted. */
export function pause(timers: Timers, ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted === true) {
      resolve();
      return;
    }
    const cancel = timers.after(ms, done);
    function done(): void {
      cancel();
      signal?.removeEventListener('abort', done);
      resolve();
    }
    signal?.addEventListener('abort', done, { once: true });
  });
}

/**
 * What the promise brings, or `late` when `ms` milliseconds have passed before. The promise itself is left alone:
 * others may wait for it too. Rejects with the signal's reason when that is aborted.
 */
export function within<T>(
  timers: Timers,
  promise: Promise<T>,
  ms: number,
  signal?: AbortSignal,
): Promise<T | 'late'> {
  return new Promise((resolve, reject) => {
    const cancel = timers.after(ms, () => {
      settle(() => {
        resolve('late');
      });
    });
    function onAbort(): void {
      settle(() => {
        reject(signal?.reason as Error);
      });
    }
    function settle(how: () => void): void {
      cancel();
      signal?.removeEventListener('abort', onAbort);
      how();
    }
    signal?.addEventListener('abort', onAbort, { once: true });
    promise.then(
      (value) => {
        settle(() => {
          resolve(value);
        });
      },
      (error: Error) => {
        settle(() => {
          reject(error);
        });
      },
    );
    if (signal?.aborted === true) onAbort();
  });
}

/** The time, and what is to be done later: handed in where tests have a clock of their own. */
export interface Clock {
  /** Milliseconds from some fixed moment on; never back. */
  now(): number;
  /** Runs `run` once, `ms` milliseconds from now, unless the function it answers with is called before. */
  after(ms: number, run: () => void): () => void;
}

/** That of the process. */
export const systemClock: Clock = {
  now: () => performance.now(),
  after(ms, run) {
    const timer = setTimeout(run, ms);
    return () => clearTimeout(timer);
  },
};

/** Node takes a longer one for none at all. */
const longestTimer = 2_147_483_647;

/**
 * A moment that is moved again and again, mostly further away. To move it costs a look at the clock: the timer behind it
 * is left as it is, and when it goes off too early it is set for what is left.
 */
export class Deadline {
  readonly #clock: Clock;
  readonly #expired: () => void;
  #due = Infinity;
  #timerDue = Infinity;
  #cancel: (() => void) | null = null;

  /** @param expired called once for each time that it is set and reached */
  constructor(clock: Clock, expired: () => void) {
    this.#clock = clock;
    this.#expired = expired;
  }

  /** Reached in `ms` milliseconds, whatever was set before. */
  set(ms: number): void {
    this.#due = this.#clock.now() + ms;
    if (this.#due < this.#timerDue) this.#arm(ms);
  }

  /** Not to be reached at all, until it is set again. */
  clear(): void {
    this.#due = Infinity;
  }

  /** As `clear`, and nothing of it stays behind. */
  stop(): void {
    this.#due = Infinity;
    this.#timerDue = Infinity;
    this.#cancel?.();
    this.#cancel = null;
  }

  #arm(ms: number): void {
    this.#cancel?.();
    const wait = Math.min(ms, longestTimer);
    this.#timerDue = this.#clock.now() + wait;
    this.#cancel = this.#clock.after(wait, () => this.#fire());
  }

  #fire(): void {
    this.#cancel = null;
    this.#timerDue = Infinity;
    if (this.#due === Infinity) return;
    const left = this.#due - this.#clock.now();
    if (left > 0) {
      this.#arm(left);
      return;
    }
    this.#due = Infinity;
    this.#expired();
  }
}
