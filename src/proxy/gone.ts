import type { Gone } from '../gone.ts';

/**
 * What an AbortSignal would be, at a tenth of its price: one is made for every exchange (measured: 10 of 120 µs of CPU
 * were AbortController's and EventTarget's).
 */
export function createGone(): Gone & { tell(): void } {
  return new Departure();
}

class Departure implements Gone {
  already = false;
  #listeners: readonly (() => void)[] = nobody;

  listen(listener: () => void): void {
    this.#listeners = [...this.#listeners, listener];
  }

  forget(listener: () => void): void {
    this.#listeners = this.#listeners.filter((candidate) => candidate !== listener);
  }

  tell(): void {
    if (this.already) return;
    this.already = true;
    for (const listener of this.#listeners) listener();
  }
}

const nobody: readonly (() => void)[] = [];
