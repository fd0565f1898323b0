import type { Timers } from '../../../../src/lib/timers.ts';

/** Timers that run when a test says so. */
export interface ManualTimers {
  readonly timers: Timers;
  /** Resolves with the milliseconds of the next timer that fits, once there is one; does not run it. */
  readonly next: (fits?: (ms: number) => boolean) => Promise<number>;
  /** Runs the next timer that fits, once there is one. */
  readonly fire: (fits?: (ms: number) => boolean) => Promise<number>;
}

export function manualTimers(): ManualTimers {
  const waiting = new Set<{ readonly ms: number; readonly run: () => void }>();
  const find = async (fits: (ms: number) => boolean) => {
    for (;;) {
      const found = [...waiting].find(({ ms }) => fits(ms));
      if (found !== undefined) return found;
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  return {
    timers: {
      after(ms, run) {
        const timer = { ms, run };
        waiting.add(timer);
        return () => void waiting.delete(timer);
      },
    },
    next: async (fits = () => true) => (await find(fits)).ms,
    async fire(fits = () => true) {
      const timer = await find(fits);
      waiting.delete(timer);
      timer.run();
      return timer.ms;
    },
  };
}
