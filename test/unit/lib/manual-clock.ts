import type { Clock } from '../../../src/lib/timers.ts';

/** A clock that stands still until the test moves it. */
export interface ManualClock extends Clock {
  advance(ms: number): void;
  /** Timers that are set. */
  timers(): number;
  /** Timers that were ever set. */
  set(): number;
}

export function manualClock(): ManualClock {
  let now = 1_000;
  let set = 0;
  const timers = new Map<object, { due: number; run: () => void }>();
  return {
    now: () => now,
    after(ms, run) {
      const key = {};
      set += 1;
      timers.set(key, { due: now + ms, run });
      return () => void timers.delete(key);
    },
    advance(ms) {
      const end = now + ms;
      for (;;) {
        const [next] = [...timers]
          .filter(([, { due }]) => due <= end)
          .toSorted(([, a], [, b]) => a.due - b.due);
        if (next === undefined) break;
        const [key, { due, run }] = next;
        timers.delete(key);
        now = Math.max(now, due);
        run();
      }
      now = end;
    },
    timers: () => timers.size,
    set: () => set,
  };
}
