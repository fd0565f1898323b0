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
