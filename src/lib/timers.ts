/** Timers. Tests replace them. */
export interface Timers {
  /** Runs `run` once after `ms` milliseconds. The returned function cancels it. */
  after(ms: number, run: () => void): () => void;
}

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
    const cancel = timers.after(ms, done);
    function done(): void {
      cancel();
      signal?.removeEventListener('abort', done);
      resolve();
    }
    signal?.addEventListener('abort', done, { once: true });
    if (signal?.aborted === true) done();
  });
}

/**
 * Resolves with the result of a promise, or with `late` after `ms` milliseconds, without cancelling the work.
 * Rejects with the signal's reason if that is aborted.
 */
export function within<T>(
  timers: Timers,
  promise: Promise<T>,
  ms: number,
  signal?: AbortSignal,
): Promise<T | 'late'> {
  const { promise: late, resolve } = Promise.withResolvers<'late'>();
  const cancel = timers.after(ms, () => resolve('late'));
  return unlessAborted(Promise.race([promise, late]), signal).finally(cancel);
}

/** Settles like a promise, or rejects with the signal's reason on abort. Does not cancel the work. */
export async function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const onAbort = () => reject(signal.reason as Error);
  signal.addEventListener('abort', onAbort, { once: true });
  if (signal.aborted) onAbort();
  try {
    return await Promise.race([aborted, promise]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

/** A monotonic clock with timers. */
export interface Clock extends Timers {
  /** Milliseconds since a fixed moment. */
  now(): number;
}

export const systemClock: Clock = {
  now: () => performance.now(),
  after: (ms, run) => systemTimers.after(ms, run),
};

/** Maximum delay of a Node timer. Node fires a longer one at once. */
const maxTimerMs = 2_147_483_647;

/**
 * A deadline that moves often, mostly to a later time. Moving it later sets no timer: the existing one fires
 * early, and is set again for the rest.
 */
export class Deadline {
  readonly #clock: Clock;
  readonly #expired: () => void;
  #due = Infinity;
  #timerDue = Infinity;
  #cancel: (() => void) | null = null;

  /** @param expired called once each time the deadline passes */
  constructor(clock: Clock, expired: () => void) {
    this.#clock = clock;
    this.#expired = expired;
  }

  /** Sets the deadline to `ms` milliseconds from now. */
  set(ms: number): void {
    this.#due = this.#clock.now() + ms;
    if (this.#due < this.#timerDue) this.#arm(ms);
  }

  /** Milliseconds until the deadline; Infinity if there is none. */
  get leftMs(): number {
    return this.#due - this.#clock.now();
  }

  /** Removes the deadline. The timer may remain. */
  clear(): void {
    this.#due = Infinity;
  }

  /** Removes the deadline and the timer. */
  stop(): void {
    this.#due = Infinity;
    this.#timerDue = Infinity;
    this.#cancel?.();
    this.#cancel = null;
  }

  #arm(ms: number): void {
    this.#cancel?.();
    const wait = Math.min(ms, maxTimerMs);
    this.#timerDue = this.#clock.now() + wait;
    this.#cancel = this.#clock.after(wait, () => this.#fire());
  }

  #fire(): void {
    this.#cancel = null;
    this.#timerDue = Infinity;
    if (this.#due === Infinity) return;
    const left = this.#due - this.#clock.now();
    if (left > 0) {
      // Timers count whole milliseconds, and may fire slightly early.
      this.#arm(Math.ceil(left));
      return;
    }
    this.#due = Infinity;
    this.#expired();
  }
}

/** Milliseconds between two checks while calls are frequent. */
const checkEveryMs = 5;

/** Milliseconds without a call after which the next call is a check. */
const pauseMs = 3;

/**
 * Returns a function that decides whether to check a fact that other processes change, such as a file: at the
 * first call after a pause of 3 ms, and every 5 ms under load. A check costs more than many of the calls.
 *
 * @param monotonic returns milliseconds, and never goes back
 * @param pause milliseconds without a call after which the next call is a check; Infinity: only every 5 ms
 */
export function createCheckPace(
  monotonic: () => number = () => performance.now(),
  pause: number = pauseMs,
): () => boolean {
  let checkedAt = -Infinity;
  let calledAt = -Infinity;
  return () => {
    const now = monotonic();
    const isDue = now - calledAt >= pause || now - checkedAt >= checkEveryMs;
    calledAt = now;
    if (isDue) checkedAt = now;
    return isDue;
  };
}

/**
 * Calls `next` with a value: at once if it is there, later if it is a promise. A request whose values are in
 * memory then makes no promise for each of them.
 */
export function whenReady<T, Result>(
  value: T | Promise<T>,
  next: (value: T) => Result | Promise<Result>,
): Result | Promise<Result> {
  return value instanceof Promise ? value.then(next) : next(value);
}

/** Longest wait that a server may ask for, in milliseconds. */
const maxRetryAfterMs = 3_600_000;

/** Parses `Retry-After` (RFC 9110 §10.2.3): seconds or a date. Returns milliseconds from now; null: none. */
export function readRetryAfter(text: string | null, now: number): number | null {
  if (text === null) return null;
  const ms = /^[0-9]{1,9}$/.test(text) ? Number(text) * 1_000 : Date.parse(text) - now;
  return Number.isNaN(ms) ? null : Math.min(Math.max(ms, 0), maxRetryAfterMs);
}
