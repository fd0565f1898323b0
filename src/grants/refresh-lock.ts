import { randomUUID } from 'node:crypto';
import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';
import { SidekeyError } from '../lib/errors.ts';
import { isRunning, processStat } from '../lib/os.ts';
import { pause, type Timers } from '../lib/timers.ts';
import type { Store } from '../store/store.ts';

/**
 * The lock under which a grant's refresh token is used: one use at a time over all processes of a store, because a
 * provider that rotates refresh tokens takes a second use for theft.
 */

/** Parts of the lock. */
interface RefreshLockParts {
  readonly store: Pick<Store, 'locks'>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly timers: Timers;
  readonly limits: { readonly refresh_timeout: number; readonly refresh_wait: number };
}

interface TakeOptions {
  /** False: one look, and no waiting. */
  readonly patient: boolean;
  /** Aborted: no caller waits. */
  readonly signal?: AbortSignal | undefined;
  /** Asked after each wait: whether there is nothing left to take it for. */
  readonly isMoot?: () => Promise<boolean>;
}

/** Means of a request under a lock; see `TokenIo`. */
export interface LockedIo {
  readonly signal: AbortSignal;
  readonly beforeSend?: () => Promise<void>;
}

/** One holder of refresh locks. */
interface RefreshLock {
  /** The maximum time that it is held, in milliseconds. */
  readonly lockMs: number;
  /**
   * `busy`: another holds it, and this was not to wait; `late`: `refresh_wait` is over. Rejects with what the store
   * throws.
   */
  take(grantId: string, options: TakeOptions): Promise<'taken' | 'busy' | 'late' | 'moot' | 'aborted'>;
  /**
   * Asks the provider under the lock; null: the process was held up (stopped, asleep), and another has taken the lock
   * since. The signal is aborted when `refresh_timeout` is over, and in time to store what the provider answers.
   * `beforeSend` rejects if the lock was taken while the connection was made. Rejects with what `question` rejects with,
   * and with what the store throws.
   */
  ask<T>(grantId: string, question: (io: LockedIo) => Promise<T>): Promise<T | null>;
  /** Asks the store whether no other holder has taken the lock since. Rejects with what the store throws. */
  readonly isHeld: (grantId: string) => Promise<boolean>;
  /** Never rejects: where it fails, the lock ends by itself. */
  release(grantId: string): Promise<void>;
}

/** Reason why no request was sent. */
export const heldUp = 'the refresh was held up, and another process has taken its place';

/** Beyond the request itself: the record is read, and the new token is committed. */
const marginMs = 5_000;
/** The longest that a refresh holds a lock for. */
const maxLockMs = 300_000;
const pollMs = { first: 25, max: 250 };
/** The time after which a silent holder loses the lock, if nothing else is known about it. */
const heartbeatMs = 2_000;
/** Four in that time: three may fail. */
const beatEveryMs = 500;

/** Each call makes a holder of its own. */
export function createRefreshLock({ store: { locks }, now, timers, limits }: RefreshLockParts): RefreshLock {
  const holder = newHolder();
  const requestMs = Math.min(limits.refresh_timeout, maxLockMs - marginMs);
  const lockMs = requestMs + marginMs;
  /** Functions that end the heartbeat of each held lock. */
  const heartbeats = new Map<string, () => void>();

  async function tryTake(name: string): Promise<boolean> {
    const other = await locks.look(name);
    if (other !== null && other.holder !== holder) {
      switch (holderStateOf(other.holder)) {
        case 'dead':
          await locks.release(name, other.holder);
          break;
        case 'running':
        case 'elsewhere':
          // Late with its heartbeat, on a busy machine or while the database was away, but perhaps at it: a second use of
          // the refresh token would cost the grant.
          if (other.leftMs > -lockMs) return false;
          break;
        case 'stopped':
        case 'unknown':
          break;
      }
    }
    return locks.acquire(name, holder, heartbeatMs);
  }

  /** Until its release, at most as long as a refresh may take. */
  function startHeartbeat(name: string, until: number): void {
    heartbeats.get(name)?.();
    const cancel = timers.after(beatEveryMs, () => {
      if (now() >= until) return;
      startHeartbeat(name, until);
      void locks.renew(name, holder, heartbeatMs).catch(() => undefined);
    });
    heartbeats.set(name, cancel);
  }

  return {
    lockMs,
    async take(grantId, { patient, signal, isMoot }) {
      const name = nameOf(grantId);
      const deadline = now() + limits.refresh_wait;
      for (let ms = pollMs.first; ; ms = Math.min(ms * 2, pollMs.max)) {
        if (signal?.aborted === true) return 'aborted';
        if (await tryTake(name)) {
          startHeartbeat(name, now() + lockMs);
          return 'taken';
        }
        if (!patient) return 'busy';
        if (now() >= deadline) return 'late';
        await pause(timers, ms, signal);
        if ((await isMoot?.()) === true) return 'moot';
      }
    },
    isHeld: (grantId) => locks.renew(nameOf(grantId), holder, heartbeatMs),
    async ask(grantId, question) {
      let renewedAt = -Infinity;
      // Repeated where the process was stopped meanwhile: another may have taken the lock since the answer.
      const hold = async (): Promise<boolean> => {
        while (now() - renewedAt >= heartbeatMs) {
          renewedAt = now();
          if (!(await locks.renew(nameOf(grantId), holder, heartbeatMs))) return false;
        }
        return true;
      };
      if (!(await hold())) return null;
      const timeout = new AbortController();
      const cancel = timers.after(requestMs, () => {
        timeout.abort(new DOMException('The token endpoint did not answer in time.', 'TimeoutError'));
      });
      try {
        return await question({
          signal: timeout.signal,
          beforeSend: async () => {
            if (!(await hold())) throw new SidekeyError('refresh_failed', heldUp);
          },
        });
      } finally {
        cancel();
      }
    },
    async release(grantId) {
      const name = nameOf(grantId);
      heartbeats.get(name)?.();
      heartbeats.delete(name);
      await locks.release(name, holder).catch(() => undefined);
    },
  };
}

function nameOf(grantId: string): string {
  return `refresh/${grantId}`;
}

/**
 * Names of those who hold locks, from which another process of the same machine can tell whether the holder is still
 * there. A process id alone says little: ids are reused (hence the start time), containers have ids of their own (hence
 * the namespace), and a store may be shared by machines (hence the boot).
 */

/**
 * - `dead`: it never comes back.
 * - `running`: it is there, though it may be late.
 * - `stopped`: it is there, and does nothing until somebody continues it (SIGSTOP, a debugger).
 * - `elsewhere`: it is on another machine or in another container.
 * - `unknown`: its name does not say.
 */
type HolderState = 'dead' | 'running' | 'stopped' | 'elsewhere' | 'unknown';

/**
 * The scope in which process ids are unique; null: this system does not say, so a holder is known by its heartbeat
 * alone.
 */
const place = readPlace();

function readPlace(): string | null {
  try {
    // proc(5), pid_namespaces(7): the same for two processes only if they see the same ids.
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
    const namespace = readlinkSync('/proc/self/ns/pid');
    return [hostname(), boot, namespace].join(' ');
  } catch {
    return null;
  }
}

/** A name that no other holder has. `pid`: the process that holds it. */
export function newHolder(pid = process.pid): string {
  const start = place === null ? null : (processStat(pid)?.start ?? null);
  return JSON.stringify({ id: randomUUID(), place, pid, start });
}

/** Returns the state of the process that a holder's name names. */
export function holderStateOf(holder: string): HolderState {
  const named = readHolder(holder);
  if (named === null || place === null) return 'unknown';
  if (named.place !== place) return 'elsewhere';
  if (!isRunning(named.pid)) return 'dead';
  const stat = processStat(named.pid);
  // Hidden from us (`hidepid`), or just gone.
  if (stat === null) return 'unknown';
  // A zombie runs no more; only its exit status waits.
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
    // An older version's: an id and nothing else.
    return null;
  }
  const { place: at, pid, start } = read ?? {};
  return typeof at === 'string' && Number.isSafeInteger(pid) && Number(pid) > 0 && typeof start === 'string'
    ? { place: at, pid: Number(pid), start }
    : null;
}
