import { SidekeyError } from './errors.ts';

interface ReadingParts<T> {
  /** Reads the value. Returns the object `before` if nothing has changed. */
  readonly read: (before: T | null) => Promise<T>;
  /** Milliseconds for which a value is not read again. */
  readonly freshMs: number;
  /** The longest pause after failures, in milliseconds. */
  readonly maxPauseMs: number;
  readonly now: () => number;
}

const firstPauseMs = 1_000;

/**
 * A cached value that another host publishes. Reads it once at a time. After a failure, the next read waits
 * for 1 s, longer after each further failure, and at least as long as the failed read took.
 */
export class Reading<T extends object> {
  readonly #parts: ReadingParts<T>;
  #value: T | null = null;
  #reading: Promise<void> | null = null;
  /** Time of the end of the last read. */
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
   * @param evenOld accepts a cached value of any age
   * @throws SidekeyError the failure of the last read
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

  /** Reads an unsuitable value again, except shortly after the last read. */
  async again(): Promise<T> {
    await this.#readAfter(Math.max(this.#parts.freshMs / 20, this.#pauseMs));
    return this.current();
  }

  /** Starts to read a stale value again in the background. */
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

  /** Returns the age of the value. If the clock was set back, the age counts as long. */
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
