/**
 * The lock under which a grant's refresh token is used: one use at a time over all processes of a store, because a
 * provider that rotates refresh tokens takes a second use for theft.
 */
import { randomUUID } from 'node:crypto';
import type { Store } from '../store/store.ts';
import { pause, type Timers } from './timers.ts';

/** What it is made of. */
export interface RefreshLockParts {
  readonly store: Pick<Store, 'locks'>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly timers: Timers;
  readonly limits: { readonly refresh_timeout: number; readonly refresh_patience: number };
}

/** How long to wait for it, and for what. */
export interface TakeOptions {
  /** False: one look, and no waiting. */
  readonly patient: boolean;
  /** Aborted: nobody waits any more. */
  readonly signal?: AbortSignal | undefined;
  /** Asked after each wait: whether there is nothing left to take it for. */
  readonly isMoot?: () => Promise<boolean>;
}

/** One holder of refresh locks. */
export interface RefreshLock {
  /** How long it is held for at most, in milliseconds. */
  readonly lockMs: number;
  /**
   * `busy`: another holds it, and this was not to wait; `late`: `refresh_patience` is over. Rejects with what the store
   * throws.
   */
  take(grantId: string, options: TakeOptions): Promise<'taken' | 'busy' | 'late' | 'moot' | 'aborted'>;
  /**
   * Asks the provider under the lock. The signal is aborted when `refresh_timeout` is over, and in time to store what the
   * provider answers. Rejects with what `question` rejects with.
   */
  ask<T>(question: (signal: AbortSignal) => Promise<T>): Promise<T>;
  /** Never rejects: where it fails, the lock ends by itself. */
  release(grantId: string): Promise<void>;
  /** Whether so much time has gone since `takenAt` that another may hold it by now: the machine slept. */
  isStale(takenAt: number): boolean;
}

/** Beyond the request itself: the record is read, and the new token is committed. */
const marginMs = 5_000;
/** The longest that a store lends a lock for. */
const maxLockMs = 300_000;
const pollMs = { first: 25, most: 250 };

/** Each call makes a holder of its own. */
export function createRefreshLock({ store, now, timers, limits }: RefreshLockParts): RefreshLock {
  const holder = randomUUID();
  const requestMs = Math.min(limits.refresh_timeout, maxLockMs - marginMs);
  const lockMs = requestMs + marginMs;
  return {
    lockMs,
    async take(grantId, { patient, signal, isMoot }) {
      const deadline = now() + limits.refresh_patience;
      for (let ms = pollMs.first; ; ms = Math.min(ms * 2, pollMs.most)) {
        if (signal?.aborted === true) return 'aborted';
        if (await store.locks.acquire(nameOf(grantId), holder, lockMs)) return 'taken';
        if (!patient) return 'busy';
        if (now() >= deadline) return 'late';
        await pause(timers, ms, signal);
        if ((await isMoot?.()) === true) return 'moot';
      }
    },
    async ask(question) {
      const timeout = new AbortController();
      const cancel = timers.after(requestMs, () => {
        timeout.abort(new DOMException('The token endpoint did not answer in time.', 'TimeoutError'));
      });
      try {
        return await question(timeout.signal);
      } finally {
        cancel();
      }
    },
    async release(grantId) {
      await store.locks.release(nameOf(grantId), holder).catch(() => undefined);
    },
    isStale: (takenAt) => Math.abs(now() - takenAt) > marginMs / 2,
  };
}

function nameOf(grantId: string): string {
  return `refresh/${grantId}`;
}
