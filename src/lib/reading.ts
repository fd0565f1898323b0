import { SidekeyError } from './errors.ts';

interface ReadingParts<T> {
  /** Reads the value. Returns the object of `before` if nothing has changed. */
  readonly read: (before: T | null) => Promise<T>;
  /** Milliseconds for which a value is not read again. */
  readonly freshMs: number;
  /** The longest pause after failures, in milliseconds. */
  readonly maxPauseMs: number;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

const firstPauseMs = 1_000;

/**
 * A value that another host publishes, in memory. One reading at a time; after a failure the next one waits for 1 s, and
 * longer after each further failure. After one that hung it waits for as long as that took.
 */
export class Reading<T extends object> {
  readonly #parts: ReadingParts<T>;
  #value: T | null = null;
  #reading: Promise<void> | null = null;
  /** Time of the last reading that has ended. */
  #readAt = -Infinity;
  #pauseMs = 0;
  #failures = 0;
  #failure: SidekeyError | null = null;

  constructor(parts: ReadingParts<T>) {
    this.#parts = parts;
  }

  /**
   * Returns the value.
   *
   * @param evenOld a value in memory does, however old it is
   * @throws SidekeyError the failure of the last reading
   */
  async current(evenOld = false): Promise<T> {
    if (!this.#isFresh() && !(evenOld && this.#value !== null)) await this.#readAfter(this.#pauseMs);
    const failure = evenOld && this.#value !== null ? null : this.#failure;
    if (failure === null) return this.#value!;
    const { code, message, hint } = failure;
    throw new SidekeyError(code, message, {
      hint,
      cause: failure,
      retryAfterMs: Math.max(firstPauseMs, this.#pauseMs),
    });
  }

  /** Reads a value again that does not do, except shortly after the last time. */
  async again(): Promise<T> {
    await this.#readAfter(Math.max(this.#parts.freshMs / 20, this.#pauseMs));
    return this.current();
  }

  /** Begins to read an old value again, for users of the present one. */
  touch(): void {
    if (!this.#isFresh()) void this.#readAfter(this.#pauseMs);
  }

  /** Reports whether a value is the last one. */
  isCurrent(value: T): boolean {
    return value === this.#value;
  }

  #isFresh(): boolean {
    return this.#failure === null && this.#age() < this.#parts.freshMs;
  }

  /** A clock that was set back counts as a long time. */
  #age(): number {
    const age = this.#parts.now() - this.#readAt;
    return age < 0 ? Infinity : age;
  }

  async #readAfter(pauseMs: number): Promise<void> {
    if (this.#reading === null) {
      if (this.#age() < pauseMs) return;
      this.#reading = this.#read().finally(() => (this.#reading = null));
    }
    await this.#reading;
  }

  /** Never rejects. */
  async #read(): Promise<void> {
    const { read, now, maxPauseMs } = this.#parts;
    const began = now();
    try {
      this.#value = await read(this.#value);
      this.#failure = null;
      this.#failures = 0;
      this.#pauseMs = 0;
    } catch (error) {
      this.#failure =
        error instanceof SidekeyError ? error : new SidekeyError('internal', undefined, { cause: error });
      const growing = firstPauseMs * 2 ** this.#failures++;
      this.#pauseMs = Math.min(Math.max(growing, now() - began), maxPauseMs);
    }
    this.#readAt = now();
  }
}
