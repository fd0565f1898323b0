import { setImmediate as nextTurn } from 'node:timers/promises';
import type { AuditEvent } from '../domain/event.ts';
import type { FailureCode } from '../lib/failures.ts';
import type { Timers } from '../lib/timers.ts';
import type { ActivityChange, RightUse, Store } from '../store/store.ts';
import type { Grant } from '../domain/grant.ts';

/**
 * Notes about grants, tokens and leases, for people and for the refresh schedule. Notes never delay a
 * request: they are written in the background. If the store is away, only notes are lost.
 */

interface NotesParts {
  readonly now: () => number;
  readonly timers: Timers;
}

/** Notes by key. Only the last note of a key is written. */
interface BackgroundNotes<Note> {
  /** Stores a note, and writes it within `ms` if no earlier note waits. Fast enough for the request path. */
  put(key: string, note: Note, ms: number): void;
  /** Returns the note that is not written yet. */
  get(key: string): Note | undefined;
  /** Writes all notes. Never rejects: notes that the store refused are written later. */
  flush(): Promise<void>;
  /** Accepts no more notes, and writes the remaining ones. */
  close(): Promise<void>;
}

/** Pause after a failed write. It is not reported: other callers of the store report its failures. */
const retryWriteMs = 60_000;

/**
 * Sets no timer before the first note.
 * @param write writes up to `atOnce` notes. The disk blocks the thread, so requests run between writes.
 */
function backgroundNotes<Note>(
  { now, timers }: NotesParts,
  atOnce: number,
  write: (notes: readonly (readonly [key: string, note: Note])[]) => Promise<void>,
): BackgroundNotes<Note> {
  const unwritten = new Map<string, Note>();
  let timer: { readonly at: number; readonly cancel: () => void } | null = null;
  let written = Promise.resolve();
  let isClosed = false;

  function writeWithin(ms: number): void {
    const at = now() + ms;
    if (isClosed || (timer !== null && timer.at <= at)) return;
    timer?.cancel();
    timer = { at, cancel: timers.after(ms, () => void flush()) };
  }

  async function writeAll(): Promise<void> {
    // Later notes are written next time.
    const notes = Array.from(unwritten);
    for (let first = 0; first < notes.length; first += atOnce) {
      if (first > 0) await nextTurn();
      const some = notes.slice(first, first + atOnce);
      await write(some);
      for (const [key, note] of some) if (unwritten.get(key) === note) unwritten.delete(key);
    }
  }

  function flush(): Promise<void> {
    timer?.cancel();
    timer = null;
    written = written.then(writeAll).then(
      () => {
        if (unwritten.size > 0) writeWithin(retryWriteMs);
      },
      () => {
        writeWithin(retryWriteMs);
      },
    );
    return written;
  }

  return {
    put(key, note, ms) {
      if (isClosed) return;
      const isNew = !unwritten.has(key);
      unwritten.set(key, note);
      if (isNew) writeWithin(ms);
    },
    get: (key) => unwritten.get(key),
    flush,
    close() {
      isClosed = true;
      return flush();
    },
  };
}

/** Notes of this process about grants. */
export interface ActivityNotes {
  /** Notes that a request received the grant's credential. Takes nanoseconds, for the request path. */
  used(grantId: string): void;
  /** Notes a successful refresh. Resolves once it is written, or the store refused it. */
  refreshed(grantId: string): Promise<void>;
  /** Notes a failed refresh. `failure`: one sentence without a secret. Resolves like `refreshed`. */
  failed(grantId: string, failure: string): Promise<void>;
  /** Notes scopes that the grant lacks according to an upstream. May be called for every request. */
  lacked(grantId: string, scopes: readonly string[]): void;
  /** Returns the last use not yet in the store, in milliseconds since the epoch; null: none. */
  unwrittenUse(grantId: string): number | null;
  /** Writes the pending notes. Never rejects: notes that the store refused are written later. */
  flush(): Promise<void>;
  /** Accepts no more notes, and writes the remaining ones. Idempotent. */
  close(): Promise<void>;
}

/** Returns notes that also report each use to a listener. It must take only nanoseconds. */
export function withUseListener(notes: ActivityNotes, onUse: () => void): ActivityNotes {
  return {
    ...notes,
    used(grantId) {
      notes.used(grantId);
      onUse();
    },
  };
}

/** Minimum milliseconds between two writes of uses. */
const grantUsesEveryMs = 60_000;
/** Delay of the first use after a pause, and of missing scopes: a person may be watching the result. */
const soonMs = 1_000;

type Lack = Extract<ActivityChange, { readonly lackedAt: number }>;
type Outcome = Exclude<ActivityChange, { readonly usedAt: number } | Lack>;

export function createActivityNotes(
  parts: NotesParts & { readonly store: Pick<Store, 'activity'> },
): ActivityNotes {
  const { store, now } = parts;
  const notes = <Note>(changeOf: (note: Note) => ActivityChange): BackgroundNotes<Note> =>
    backgroundNotes(parts, 1, async ([first]) => {
      // A note about a removed grant counts as written: the store keeps nothing about it.
      if (first !== undefined) await store.activity.note(first[0], changeOf(first[1]));
    });
  const outcomes = notes<Outcome>((outcome) => outcome);
  const lacks = notes<Lack>((lack) => lack);
  let usesWrittenAt = -Infinity;
  const uses = notes<number>((usedAt) => {
    usesWrittenAt = now();
    return { usedAt };
  });

  function outcome(grantId: string, note: Outcome): Promise<void> {
    outcomes.put(grantId, note, retryWriteMs);
    // Written at once: a write of the refresh precedes it, and processes that wait for the lock read it.
    return outcomes.flush();
  }

  return {
    used(grantId) {
      // A clock that was set back must not extend the wait.
      const ms = Math.min(Math.max(usesWrittenAt + grantUsesEveryMs - now(), soonMs), grantUsesEveryMs);
      uses.put(grantId, now(), ms);
    },
    refreshed: (grantId) => outcome(grantId, { refreshedAt: now() }),
    failed: (grantId, failure) => outcome(grantId, { failedAt: now(), failure }),
    lacked(grantId, scopes) {
      lacks.put(grantId, { lackedAt: now(), lacked: scopes }, soonMs);
    },
    unwrittenUse: (grantId) => uses.get(grantId) ?? null,
    async flush() {
      await Promise.all([outcomes, lacks, uses].map((each) => each.flush()));
    },
    async close() {
      await Promise.all([outcomes, lacks, uses].map((each) => each.close()));
    },
  };
}

/** Notes of this process about uses of tokens and leases, for people and for idle leases. */
export type UseNotes = ReturnType<typeof createUseNotes>;

/** Milliseconds within which a use is written, unless the end of a lease depends on it. */
export const usesEveryMs = 60_000;
/** Maximum uses per transaction. */
const usesAtOnce = 100;

export function createUseNotes(
  parts: NotesParts & { readonly store: { readonly rights: Pick<Store['rights'], 'noteUses'> } },
) {
  const { store, now } = parts;
  const unwritten = backgroundNotes<RightUse>(parts, usesAtOnce, (notes) =>
    store.rights.noteUses(notes.map(([, use]) => use)),
  );
  return {
    /**
     * Notes that a token or a lease was used, and writes it within `patienceMs` (0: as soon as possible).
     * Takes nanoseconds, for the request path.
     */
    used(kind: RightUse['kind'], id: string, patienceMs: number): void {
      unwritten.put(`${kind}/${id}`, { kind, id, at: now() }, patienceMs);
    },
    /** Writes the pending notes. Never rejects: what the store did not take is tried again later. */
    flush: () => unwritten.flush(),
    /** Accepts no more notes, and writes the remaining ones. Idempotent. */
    close: () => unwritten.close(),
  };
}

/**
 * Notes refreshes in the audit log and the grant's activity. Reasons contain no secret. Each method resolves
 * once other processes can read the note.
 */
export function createRefreshNotes({
  audit,
  activity,
  now,
}: {
  readonly audit: { note(event: AuditEvent): void };
  readonly activity: Pick<ActivityNotes, 'refreshed' | 'failed'>;
  readonly now: () => number;
}) {
  function note(grant: Grant, begun: number, event: AuditEvent): void {
    audit.note(grantEvent(grant, { ...event, duration_ms: now() - begun }));
  }
  return {
    /**
     * @param begun start of the refresh, in milliseconds since the epoch
     * @param purpose use of the refresh token other than for the grant's access token
     * @param isNoted the activity was written with the tokens; default: false
     */
    async refreshed(
      grant: Grant,
      begun: number,
      { purpose, isNoted = false }: { readonly purpose?: string; readonly isNoted?: boolean },
    ): Promise<void> {
      note(grant, begun, { event: 'grant.refreshed', outcome: 'ok', reason: purpose });
      if (!isNoted) await activity.refreshed(grant.id);
    },
    /** Notes a failure that leaves the grant unchanged. */
    failed(grant: Grant, begun: number, reason: string, code: FailureCode = 'refresh_failed'): Promise<void> {
      note(grant, begun, { event: 'grant.refresh_failed', outcome: 'failed', code, reason });
      return activity.failed(grant.id, reason);
    },
    /** Notes that the grant needs a new consent. */
    reauthRequired(grant: Grant, begun: number, reason: string): Promise<void> {
      const code = 'reauth_required';
      note(grant, begun, { event: 'grant.reauth_required', outcome: 'failed', code, reason });
      return activity.failed(grant.id, reason);
    },
  };
}

/** Adds the members of every event about a grant. */
export function grantEvent(grant: Grant, event: AuditEvent): AuditEvent {
  return { ...event, grant: grant.id, user: grant.user, provider: grant.provider };
}
