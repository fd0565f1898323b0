import { setTimeout as sleep } from 'node:timers/promises';

/** What the proxy and the demo go by. */
export interface Clock {
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Resolves when so many milliseconds are over. Rejects with an `AbortError` when the signal aborts. */
  readonly pause: (ms: number, signal: AbortSignal) => Promise<void>;
}

/** The machine's own. */
export const realClock: Clock = {
  now: Date.now,
  pause: (ms, signal) => sleep(ms, undefined, { signal }),
};
