import { setImmediate as nextTurn } from 'node:timers/promises';
import type { AuditEvent } from '../domain/event.ts';
import type { FailureCode } from '../lib/failures.ts';
import type { Timers } from '../lib/timers.ts';
import type { ActivityChange, RightUse, Store } from '../store/store.ts';
import type { Grant } from '../domain/grant.ts';

/**
 * Notes about grants, tokens and leases, for people and for the schedule of refreshes. A note never delays a request: it
 * is kept in memory and written in the background. A store that is away costs nothing but the notes.
 */

/** The parts that every set of notes needs. */
interface NotesParts {
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly timers: Timers;
}

/** Notes by their key, of which the last one is written. */
interface BackgroundNotes<Note> {
  /** Keeps a note, and writes it within `ms` if there was none of this key. For the request path. */
  put(key: string, note: Note, ms: number): void;
  /** The note that is not written yet. */
  get(key: string): Note | undefined;
  /** Writes everything now. Never rejects: what the store did not take is tried again later. */
  flush(): Promise<void>;
  /** Accepts no more notes, and writes the remaining ones. */
  close(): Promise<void>;
}

/**
 * The pause after a write that failed. The callers of the store report its fault; a note is not worth a second report.
 */
const retryWriteMs = 60_000;

/**
 * Sets no timer before there is something to write.
 * @param write writes up to `atOnce` notes; it blocks the thread for as long as the disk takes, so requests run in between
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
    // The notes of this moment: what comes while these are written is written next time.
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

/** Notes of one process about its grants. */
export interface ActivityNotes {
  /** A request got the grant's credential. For the request path: some nanoseconds. */
  used(grantId: string): void;
  /** A refresh has worked. Resolves when this is written, or the store did not take it. */
  refreshed(grantId: string): Promise<void>;
  /** A refresh has failed. `failure`: one sentence without a secret. Resolves as `refreshed` does. */
  failed(grantId: string, failure: string): Promise<void>;
  /** An upstream said that the grant lacks these scopes. For the request path; an upstream may say it of any request. */
  lacked(grantId: string, scopes: readonly string[]): void;
  /** The last use that is not in the store yet, in milliseconds since the epoch; null: there is none. */
  unwrittenUse(grantId: string): number | null;
  /** Writes the pending notes. Never rejects: what the store did not take is tried again later. */
  flush(): Promise<void>;
  /** Accepts no more notes, and writes the remaining ones. Idempotent. */
  close(): Promise<void>;
}

/** Uses are written at most this often. */
const grantUsesEveryMs = 60_000;
/** The delay of the first use after a quiet time, and of a lack: a person may be trying it out, and look. */
const soonMs = 1_000;

type Lack = Extract<ActivityChange, { readonly lackedAt: number }>;
type Outcome = Exclude<ActivityChange, { readonly usedAt: number } | Lack>;

/** Begins with nothing. */
export function createActivityNotes(
  parts: NotesParts & { readonly store: Pick<Store, 'activity'> },
): ActivityNotes {
  const { store, now } = parts;
  const notes = <Note>(changeOf: (note: Note) => ActivityChange): BackgroundNotes<Note> =>
    backgroundNotes(parts, 1, async ([first]) => {
      // A note about a grant that was removed counts as written: the store keeps nothing about it.
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
    // At once: it follows a write of the refresh itself, and whoever waits for the lock looks at it.
    return outcomes.flush();
  }

  return {
    used(grantId) {
      // A clock that was set back must not stretch the wait.
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

/** Notes of one process about the use of tokens and leases, for people and for leases that end when they are idle. */
export interface UseNotes {
  /**
   * A token or a lease was used now. It is written within `patienceMs` (0: as soon as may be). For the request path:
   * some nanoseconds.
   */
  used(kind: RightUse['kind'], id: string, patienceMs: number): void;
  /** Writes the pending notes. Never rejects: what the store did not take is tried again later. */
  flush(): Promise<void>;
  /** Accepts no more notes, and writes the remaining ones. Idempotent. */
  close(): Promise<void>;
}

/** A use is written within this time, and so at most this often, unless the end of a lease depends on it. */
export const usesEveryMs = 60_000;
/** The uses of one transaction. */
const usesAtOnce = 100;

/** Begins with nothing. */
export function createUseNotes(
  parts: NotesParts & { readonly store: { readonly rights: Pick<Store['rights'], 'noteUses'> } },
): UseNotes {
  const { store, now } = parts;
  const unwritten = backgroundNotes<RightUse>(parts, usesAtOnce, (notes) =>
    store.rights.noteUses(notes.map(([, use]) => use)),
  );
  return {
    used(kind, id, patienceMs) {
      unwritten.put(`${kind}/${id}`, { kind, id, at: now() }, patienceMs);
    },
    flush: () => unwritten.flush(),
    close: () => unwritten.close(),
  };
}

/** Notes about refreshes, for the audit file and for the activity of the grant. Reasons are sentences without a secret. */
interface RefreshNotes {
  /**
   * @param begun when the refresh began, in milliseconds since the epoch
   * @param purpose what the refresh token was used for, where not for the grant's own token
   */
  refreshed(grant: Grant, begun: number, purpose?: string): Promise<void>;
  /** The grant is as it was. */
  failed(grant: Grant, begun: number, reason: string, code?: FailureCode): Promise<void>;
  /** The grant needs a new consent now. */
  reauthRequired(grant: Grant, begun: number, reason: string): Promise<void>;
}

/** Each note resolves when other processes can read it. */
export function createRefreshNotes({
  audit,
  activity,
  now,
}: {
  readonly audit: { note(event: AuditEvent): void };
  readonly activity: Pick<ActivityNotes, 'refreshed' | 'failed'>;
  readonly now: () => number;
}): RefreshNotes {
  function note(grant: Grant, begun: number, event: AuditEvent): void {
    audit.note(grantEvent(grant, { ...event, duration_ms: now() - begun }));
  }
  return {
    refreshed(grant, begun, purpose) {
      note(grant, begun, { event: 'grant.refreshed', outcome: 'ok', reason: purpose });
      return activity.refreshed(grant.id);
    },
    failed(grant, begun, reason, code = 'refresh_failed') {
      note(grant, begun, { event: 'grant.refresh_failed', outcome: 'failed', code, reason });
      return activity.failed(grant.id, reason);
    },
    reauthRequired(grant, begun, reason) {
      const code = 'reauth_required';
      note(grant, begun, { event: 'grant.reauth_required', outcome: 'failed', code, reason });
      return activity.failed(grant.id, reason);
    },
  };
}

/** Adds the members that every event about a grant has. */
export function grantEvent(grant: Grant, event: AuditEvent): AuditEvent {
  return { ...event, grant: grant.id, user: grant.user, provider: grant.provider };
}
