import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Timers } from '../lib/timers.ts';
import type { ActivityChange, RightUse, Store } from '../store/store.ts';

/**
 * What happens to grants, noted for people and for the schedule of refreshes. A note never delays a request: it is kept
 * in memory and written in the background. A store that is away costs nothing but the notes.
 */

/** Notes of one process. */
export interface ActivityNotes {
  /** A request got the grant's credential. For the request path: some nanoseconds. */
  used(grantId: string): void;
  /** A refresh has worked. */
  refreshed(grantId: string): void;
  /** A refresh has failed. `failure`: one sentence without a secret. */
  failed(grantId: string, failure: string): void;
  /** An upstream said that the grant lacks these scopes. For the request path; an upstream may say it of any request. */
  lacked(grantId: string, scopes: readonly string[]): void;
  /** The last use that is not in the store yet, in milliseconds since the epoch; null: there is none. */
  unwrittenUse(grantId: string): number | null;
  /** Writes what is not written. Never rejects: what the store did not take is tried again later. */
  flush(): Promise<void>;
  /** Notes no more, and writes what is left. Idempotent. */
  close(): Promise<void>;
}

/** What notes are made of. */
interface ActivityParts {
  readonly store: Pick<Store, 'activity'>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly timers: Timers;
}

/** Uses are written at most this often. */
const grantUsesEveryMs = 60_000;
/** The first use after a quiet time is written this soon: somebody may be trying it out, and look. */
const soonMs = 1_000;
/** When what the store did not take is tried again. */
const retryWriteMs = 60_000;

type Lack = Extract<ActivityChange, { readonly lackedAt: number }>;
type Outcome = Exclude<ActivityChange, { readonly usedAt: number } | Lack>;

/** Begins with nothing, and sets no timer before there is something to write. */
export function createActivityNotes({ store, now, timers }: ActivityParts): ActivityNotes {
  const uses = new Map<string, number>();
  const outcomes = new Map<string, Outcome>();
  const lacks = new Map<string, Lack>();
  let cancelTimer: (() => void) | null = null;
  let cancelLacks: (() => void) | null = null;
  let usesWrittenAt = -Infinity;
  let written = Promise.resolve();
  let closed: Promise<void> | null = null;

  function writeWithin(ms: number): void {
    if (closed !== null) return;
    cancelTimer ??= timers.after(ms, () => {
      cancelTimer = null;
      void flush();
    });
  }

  /** Notes of grants that are gone count as written: the store keeps nothing of them. */
  async function write<Note>(
    notes: Map<string, Note>,
    changeOf: (note: Note) => ActivityChange,
  ): Promise<void> {
    // As they are now: what comes while these are written is written next time.
    for (const [grantId, note] of Array.from(notes)) {
      await store.activity.note(grantId, changeOf(note));
      if (notes.get(grantId) === note) notes.delete(grantId);
      // A write blocks the thread for as long as the disk takes: requests go in between.
      if (notes.size > 0) await nextTurn();
    }
  }

  async function writeOutcomes(): Promise<void> {
    await write(outcomes, (outcome) => outcome);
  }

  async function writeLacks(): Promise<void> {
    await write(lacks, (lack) => lack);
  }

  async function writeAll(): Promise<void> {
    await writeOutcomes();
    await writeLacks();
    if (uses.size > 0) usesWrittenAt = now();
    await write(uses, (usedAt) => ({ usedAt }));
  }

  /** One after the other: what comes while one is writing is written by the next. */
  function inTurn(writing: () => Promise<void>): Promise<void> {
    written = written.then(writing).catch(() => {
      // Whoever needs the store says what is wrong with it; a note is not worth a second voice.
      writeWithin(retryWriteMs);
    });
    return written;
  }

  function flush(): Promise<void> {
    cancelTimer?.();
    cancelTimer = null;
    cancelLacks?.();
    cancelLacks = null;
    return inTurn(writeAll);
  }

  function outcome(grantId: string, note: Outcome): void {
    if (closed !== null) return;
    outcomes.set(grantId, note);
    // It follows a write of the refresh itself, so one more costs little; and a person may be waiting to see it.
    void inTurn(writeOutcomes);
  }

  return {
    used(grantId) {
      if (closed !== null) return;
      uses.set(grantId, now());
      if (cancelTimer !== null) return;
      // A clock that was set back must not stretch the wait.
      writeWithin(Math.min(Math.max(usesWrittenAt + grantUsesEveryMs - now(), soonMs), grantUsesEveryMs));
    },
    refreshed(grantId) {
      outcome(grantId, { refreshedAt: now() });
    },
    failed(grantId, failure) {
      outcome(grantId, { failedAt: now(), failure });
    },
    lacked(grantId, scopes) {
      if (closed !== null) return;
      lacks.set(grantId, { lackedAt: now(), lacked: scopes });
      // Soon, for a person may look; and once for however many requests.
      cancelLacks ??= timers.after(soonMs, () => {
        cancelLacks = null;
        void inTurn(writeLacks);
      });
    },
    unwrittenUse: (grantId) => uses.get(grantId) ?? null,
    flush,
    close() {
      closed ??= flush();
      return closed;
    },
  };
}

/**
 * When tokens and leases were used last, noted for people and for leases that end when they are idle. As with the
 * activity of grants, a note never delays a request: it is kept in memory and written in the background, many at once.
 */

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
interface UseNotesParts {
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
