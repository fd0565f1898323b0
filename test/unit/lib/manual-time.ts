import type { Timers } from '../../../src/lib/timers.ts';

/** A clock that stands still, and timers that run when the test moves it. */
export interface ManualTime {
  readonly now: () => number;
  readonly timers: Timers;
  /** Moves the clock, runs what becomes due in its order, and lets what follows from it happen. */
  advance(ms: number): Promise<void>;
  /** Sets the clock, as a person would: timers take no notice, they run when their time has passed. */
  set(at: number): void;
  /** Number of pending timers. */
  waiting(): number;
}

/** Lets everything happen that needs no timer. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 8; turn += 1) {
    await new Promise((resolve) => setImmediate(resolve));
    // The disk has a time of its own.
    if (process.getActiveResourcesInfo().some((kind) => /^(?:FS|Close)Req/.test(kind))) turn = -1;
  }
}

export function manualTime(start: number): ManualTime {
  let now = start;
  /** The clock of timers, which is only moved forward. */
  let passed = 0;
  const waiting = new Set<{ at: number; run: () => void }>();
  function moveTo(target: number): void {
    const ms = Math.max(0, target - passed);
    now += ms;
    passed += ms;
  }

  return {
    now: () => now,
    timers: {
      after(ms, run) {
        const timer = { at: passed + ms, run };
        waiting.add(timer);
        return () => waiting.delete(timer);
      },
    },
    async advance(ms) {
      const target = passed + ms;
      for (;;) {
        await settle();
        const [next] = [...waiting].filter((timer) => timer.at <= target).toSorted((a, b) => a.at - b.at);
        if (next === undefined) break;
        waiting.delete(next);
        moveTo(next.at);
        next.run();
      }
      moveTo(target);
      await settle();
    },
    set(at) {
      now = at;
    },
    waiting: () => waiting.size,
  };
}
