/** Whether a client has left before its response was complete, and who is to be told. */
export interface Gone {
  readonly already: boolean;
  /** Told once, when it happens. */
  listen(listener: () => void): void;
  forget(listener: () => void): void;
}

/**
 * What an AbortSignal would be, at a tenth of its price: one is made for every exchange (measured: 10 of 120 µs of CPU
 * were AbortController's and EventTarget's).
 */
export function createGone(): Gone & { tell(): void } {
  let listeners: readonly (() => void)[] = [];
  let already = false;
  return {
    get already() {
      return already;
    },
    listen(listener) {
      listeners = [...listeners, listener];
    },
    forget(listener) {
      listeners = listeners.filter((candidate) => candidate !== listener);
    },
    tell() {
      if (already) return;
      already = true;
      for (const listener of listeners) listener();
    },
  };
}
