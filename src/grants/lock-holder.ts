/**
 * Names of those who hold locks, from which another process of the same machine can tell whether the holder is still
 * there. A process id alone says little: ids are reused (hence the start time), containers have ids of their own (hence
 * the namespace), and a store may be shared by machines (hence the boot).
 */
import { randomUUID } from 'node:crypto';
import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';
import { isSystemError } from '../system-error.ts';

/**
 * - `dead`: it never comes back.
 * - `running`: it is there, though it may be late.
 * - `stopped`: it is there, and does nothing until somebody lets it go on (SIGSTOP, a debugger).
 * - `unknown`: it is elsewhere, or its name does not say.
 */
export type HolderFate = 'dead' | 'running' | 'stopped' | 'unknown';

/** Where ids of processes are unique; null: this system does not say, so a holder is known by its heartbeat alone. */
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
  const start = place === null ? null : (readStat(pid)?.start ?? null);
  return JSON.stringify({ id: randomUUID(), place, pid, start });
}

/** What has become of the process that a holder's name names. */
export function fateOf(holder: string): HolderFate {
  const named = readHolder(holder);
  if (named === null || place === null || named.place !== place) return 'unknown';
  if (!isThere(named.pid)) return 'dead';
  const stat = readStat(named.pid);
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

function isThere(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return !isSystemError(error, 'ESRCH');
  }
}

/** proc_pid_stat(5): fields 3 and 22, counted from behind the name, which may hold anything. */
function readStat(pid: number): { readonly state: string; readonly start: string } | null {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    const [state, start] = [fields[0], fields[19]];
    return state === undefined || start === undefined ? null : { state, start };
  } catch {
    return null;
  }
}
