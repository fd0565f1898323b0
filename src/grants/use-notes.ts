/**
 * When tokens and leases were used last, noted for people and for leases that end when they are idle. As with the
 * activity of grants, a note never delays a request: it is kept in memory and written in the background, many at once.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { RightUse } from '../store/rights.ts';
import type { Store } from '../store/store.ts';
import type { Timers } from './timers.ts';

/** Notes of one process. */
export interface UseNotes {
  /**
   * A token or a lease was used now. It is written within `patienceMs` (0: as soon as may be). For the request path:
   * some nanoseconds.
   */
  used(kind: RightUse['kind'], id: string, patienceMs: number): void;
  /** Writes what is not written. Never rejects: what the store did not take is tried again later. */
  flush(): Promise<void>;
  /** Notes no more, and writes what is left. Idempotent. */
  close(): Promise<void>;
}

/** What notes are made of. */
export interface UseNotesParts {
  readonly store: { readonly rights: Pick<Store['rights'], 'noteUses'> };
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly timers: Timers;
}

/** A use is written within this time, and so at most this often, unless something hangs on it. */
export const usesEveryMs = 60_000;
/** When what the store did not take is tried again. */
const againMs = 60_000;
/** Written in one transaction, which blocks the thread: requests go in between. */
const atOnce = 100;

/** Begins with nothing, and sets no timer before there is something to write. */
export function createUseNotes({ store, now, timers }: UseNotesParts): UseNotes {
  const unwritten = { token: new Map<string, number>(), lease: new Map<string, number>() };
  let timer: { readonly at: number; readonly cancel: () => void } | null = null;
  let written = Promise.resolve();
  let closed: Promise<void> | null = null;

  function writeWithin(ms: number): void {
    const at = now() + ms;
    if (closed !== null || (timer !== null && timer.at <= at)) return;
    timer?.cancel();
    timer = { at, cancel: timers.after(ms, () => void flush()) };
  }

  async function writeAll(): Promise<void> {
    const uses = (['lease', 'token'] as const).flatMap((kind) =>
      Array.from(unwritten[kind], ([id, at]): RightUse => ({ kind, id, at })),
    );
    for (let first = 0; first < uses.length; first += atOnce) {
      if (first > 0) await nextTurn();
      const some = uses.slice(first, first + atOnce);
      await store.rights.noteUses(some);
      for (const { kind, id, at } of some) if (unwritten[kind].get(id) === at) unwritten[kind].delete(id);
    }
  }

  function flush(): Promise<void> {
    timer?.cancel();
    timer = null;
    // One after the other: what comes while one is writing is written by the next.
    written = written.then(writeAll).then(
      () => {
        if (unwritten.token.size + unwritten.lease.size > 0) writeWithin(usesEveryMs);
      },
      () => {
        // Whoever needs the store says what is wrong with it; a note is not worth a second voice.
        writeWithin(againMs);
      },
    );
    return written;
  }

  return {
    used(kind, id, patienceMs) {
      if (closed !== null) return;
      const isNew = !unwritten[kind].has(id);
      unwritten[kind].set(id, now());
      if (isNew) writeWithin(patienceMs);
    },
    flush,
    close() {
      closed ??= flush();
      return closed;
    },
  };
}
