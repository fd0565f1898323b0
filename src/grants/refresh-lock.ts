import { randomUUID } from 'node:crypto';
import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';
import { SidekeyError } from '../lib/errors.ts';
import { isRunning, processStat } from '../lib/os.ts';
import { pause, type Timers } from '../lib/timers.ts';
import { answerMs, type Limits } from '../proxy/policy/limits.ts';
import type { GrantLock, LockedGrant, Store } from '../store/store.ts';

/**
 * Locks for the use of a grant's refresh token: one use at a time over all processes of a store. A provider
 * that rotates refresh tokens takes a second use for theft.
 */

interface RefreshLockParts {
  readonly store: Pick<Store, 'locks'>;
  readonly now: () => number;
  readonly timers: Timers;
  readonly limits: RefreshLimits;
}

/** `drain`: default 0. */
export type RefreshLimits = Pick<Limits, 'refresh_timeout' | 'refresh_wait'> & Partial<Pick<Limits, 'drain'>>;

interface TakeOptions {
  /** False: tries once, without waiting. */
  readonly patient: boolean;
  /** True: waits as long as a holder may wait for a late answer, if that is longer than `refresh_wait`. */
  readonly outlasts?: boolean;
  /** Aborted once no caller waits. */
  readonly signal?: AbortSignal | undefined;
  /** Called after each wait. Returns true if the lock is no longer needed. */
  readonly isMoot?: () => Promise<boolean>;
}

/** Means of a request under a lock; see `TokenIo`. */
export interface LockedIo {
  readonly signal: AbortSignal;
  readonly beforeSend?: () => Promise<void>;
}

interface Heartbeat {
  readonly stop: () => void;
  /** Time of the last heartbeat that the store confirmed. */
  seenAt: number;
}

export interface RefreshLock {
  /** Milliseconds that a stop leaves to a request, then to the commit of its answer. */
  readonly stopMs: { readonly answer: number; readonly commit: number };
  /**
   * Returns the grant as it is under the lock. `busy`: held by another, not `patient`; `late`: after
   * `refresh_wait`. Rejects with store errors.
   */
  take(grantId: string, options: TakeOptions): Promise<LockedGrant | 'busy' | 'late' | 'moot' | 'aborted'>;
  /**
   * Calls the provider under the lock. Null: the process was suspended, and another has taken the lock. The
   * signal aborts after `refresh_timeout`. With `overdue`, a request that was sent goes on: `overdue` is
   * called then, and the signal aborts after `answerMs`, early enough to store the response, or when the
   * heartbeats of the lock do not arrive. `beforeSend` rejects if the lock was lost while connecting. Rejects
   * with errors of `question` and the store.
   */
  ask<T>(
    grantId: string,
    question: (io: LockedIo) => Promise<T>,
    overdue: (() => void) | null,
  ): Promise<T | null>;
  /** Aborts the requests in flight. Their answers are lost. */
  abandon(): void;
  /** Checks with the store that this holder still has the lock. Rejects with errors of the store. */
  readonly isHeld: (grantId: string) => Promise<boolean>;
  /** Returns the lock of a grant, for a write that releases it. */
  lockOf(grantId: string): Pick<GrantLock, 'name' | 'holder'>;
  /** Ends the heartbeats of a lock that such a write released. */
  released(grantId: string): void;
  /** Never rejects: after a failure, the lock expires by itself. Does nothing after `released`. */
  release(grantId: string): Promise<void>;
}

/** Reason for a request that was not sent. */
export const heldUp = 'the refresh was held up, and another process has taken its place';

/** Milliseconds besides the request, to read the record and commit the token. */
const marginMs = 5_000;
/** Maximum milliseconds for which a refresh holds a lock. */
const maxLockMs = 300_000;
const pollMs = { first: 25, max: 250 };
/** Milliseconds after which a silent holder loses the lock, if its process is unknown. */
const heartbeatMs = 2_000;
/** Four heartbeats in that time: three may fail. */
const beatEveryMs = 500;

/** Each call creates a holder. */
export function createRefreshLock({ store: { locks }, now, timers, limits }: RefreshLockParts): RefreshLock {
  const holder = newHolder();
  const longestMs = Math.min(answerMs(limits), maxLockMs - marginMs);
  const requestMs = Math.min(limits.refresh_timeout, longestMs);
  /** Milliseconds without a heartbeat after which another node takes the lock. */
  const takeoverMs = requestMs + marginMs;
  /** Functions that abort the requests in flight. */
  const aborts = new Set<() => void>();
  const heartbeats = new Map<string, Heartbeat>();

  async function tryTake(grantId: string): Promise<LockedGrant | null> {
    const name = nameOf(grantId);
    const lock = { name, holder, ttlMs: heartbeatMs };
    // The heartbeat of another holder may be late (busy machine, database away) while it still refreshes. A
    // second use of the refresh token would cost the grant.
    const locked = await locks.acquireFor(grantId, { ...lock, silentMs: takeoverMs });
    const other = locked === null ? await locks.look(name) : null;
    if (other === null) return locked;
    switch (holderStateOf(other.holder)) {
      case 'dead':
        await locks.release(name, other.holder);
        break;
      case 'running':
      case 'elsewhere':
        return null;
      case 'stopped':
      case 'unknown':
        break;
    }
    return locks.acquireFor(grantId, { ...lock, silentMs: 0 });
  }

  /** Renews the lock until its release, but not after `until`. */
  function startHeartbeat(name: string, until: number, seenAt: number): void {
    heartbeats.get(name)?.stop();
    const stop = timers.after(beatEveryMs, () => {
      const at = now();
      if (at >= until) return;
      startHeartbeat(name, until, heartbeats.get(name)?.seenAt ?? seenAt);
      const seen = (isHeld: boolean) => {
        const beat = heartbeats.get(name);
        if (isHeld && beat !== undefined) beat.seenAt = at;
      };
      void locks.renew(name, holder, heartbeatMs).then(seen, () => undefined);
    });
    heartbeats.set(name, { stop, seenAt });
  }

  /** Returns false if there was none. */
  function endHeartbeat(name: string): boolean {
    heartbeats.get(name)?.stop();
    return heartbeats.delete(name);
  }

  return {
    stopMs: { answer: Math.min(Math.max(requestMs, limits.drain ?? 0), longestMs), commit: marginMs },
    async take(grantId, { patient, outlasts, signal, isMoot }) {
      const holderMs = outlasts === true ? longestMs + marginMs + heartbeatMs : 0;
      const deadline = now() + Math.max(limits.refresh_wait, holderMs);
      for (let ms = pollMs.first; ; ms = Math.min(ms * 2, pollMs.max)) {
        if (signal?.aborted === true) return 'aborted';
        const begun = now();
        const locked = await tryTake(grantId);
        if (locked !== null) {
          startHeartbeat(nameOf(grantId), now() + longestMs + marginMs, begun);
          return locked;
        }
        if (!patient) return 'busy';
        if (now() >= deadline) return 'late';
        await pause(timers, ms, signal);
        if ((await isMoot?.()) === true) return 'moot';
      }
    },
    isHeld: (grantId) => locks.renew(nameOf(grantId), holder, heartbeatMs),
    async ask(grantId, question, overdue) {
      let renewedAt = heartbeats.get(nameOf(grantId))?.seenAt ?? -Infinity;
      // Repeated if the process was suspended: another may have taken the lock since the response.
      const hold = async (): Promise<boolean> => {
        while (now() - renewedAt >= heartbeatMs) {
          renewedAt = now();
          if (!(await locks.renew(nameOf(grantId), holder, heartbeatMs))) return false;
        }
        return true;
      };
      if (!(await hold())) return null;
      const timeout = new AbortController();
      const abort = (): void =>
        timeout.abort(new DOMException('The token endpoint did not answer in time.', 'TimeoutError'));
      const until = now() + longestMs;
      let isSent = false;
      const goOn = (): void => {
        const seenAt = heartbeats.get(nameOf(grantId))?.seenAt ?? -Infinity;
        // Another node may soon take the lock.
        const isSilent = now() - seenAt >= Math.max(requestMs, heartbeatMs);
        if (isSilent || now() >= until) abort();
        else cancel = timers.after(Math.min(beatEveryMs, until - now()), goOn);
      };
      let cancel = timers.after(requestMs, () => {
        if (!isSent || overdue === null) return abort();
        goOn();
        overdue();
      });
      aborts.add(abort);
      try {
        return await question({
          signal: timeout.signal,
          beforeSend: async () => {
            if (!(await hold())) throw new SidekeyError('refresh_failed', heldUp);
            isSent = true;
          },
        });
      } finally {
        cancel();
        aborts.delete(abort);
      }
    },
    abandon() {
      for (const abort of aborts) abort();
    },
    lockOf: (grantId) => ({ name: nameOf(grantId), holder }),
    released: (grantId) => void endHeartbeat(nameOf(grantId)),
    async release(grantId) {
      const name = nameOf(grantId);
      if (endHeartbeat(name)) await locks.release(name, holder).catch(() => undefined);
    },
  };
}

function nameOf(grantId: string): string {
  return `refresh/${grantId}`;
}

/**
 * Names of lock holders, from which another process on the same machine can see whether the holder still
 * runs. A process ID is not enough: IDs are reused (hence the start time), containers have their own (hence
 * the namespace), and machines may share a store (hence the boot).
 */

/**
 * - `dead`: the process has ended.
 * - `running`: the process runs, perhaps late.
 * - `stopped`: the process is suspended until somebody continues it (SIGSTOP, a debugger).
 * - `elsewhere`: the process is on another machine or in another container.
 * - `unknown`: the name does not identify a process.
 */
type HolderState = 'dead' | 'running' | 'stopped' | 'elsewhere' | 'unknown';

/** Scope in which process IDs are unique; null: unknown on this system, so only heartbeats count. */
const place = readPlace();

function readPlace(): string | null {
  try {
    // proc(5), pid_namespaces(7): equal for two processes only if they see the same IDs.
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
    const namespace = readlinkSync('/proc/self/ns/pid');
    return [hostname(), boot, namespace].join(' ');
  } catch {
    return null;
  }
}

/** Returns a unique name. `pid`: the process of the holder. */
export function newHolder(pid = process.pid): string {
  const start = place === null ? null : (processStat(pid)?.start ?? null);
  return JSON.stringify({ id: randomUUID(), place, pid, start });
}

export function holderStateOf(holder: string): HolderState {
  const named = readHolder(holder);
  if (named === null || place === null) return 'unknown';
  if (named.place !== place) return 'elsewhere';
  if (!isRunning(named.pid)) return 'dead';
  const stat = processStat(named.pid);
  // The process is hidden (`hidepid`), or has just ended.
  if (stat === null) return 'unknown';
  // A zombie no longer runs; only its exit status remains.
  if (stat.start !== named.start || stat.state === 'Z' || stat.state === 'X') return 'dead';
  return stat.state === 'T' || stat.state === 't' ? 'stopped' : 'running';
}

interface NamedHolder {
  readonly place: string;
  readonly pid: number;
  readonly start: string;
}

function readHolder(holder: string): NamedHolder | null {
  let read: Partial<Record<keyof NamedHolder, unknown>> | null;
  try {
    read = JSON.parse(holder) as typeof read;
  } catch {
    // Holders of older versions are only an ID.
    return null;
  }
  const { place: at, pid, start } = read ?? {};
  return typeof at === 'string' && Number.isSafeInteger(pid) && Number(pid) > 0 && typeof start === 'string'
    ? { place: at, pid: Number(pid), start }
    : null;
}
