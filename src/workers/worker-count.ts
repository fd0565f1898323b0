import { existsSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';

/** What tells how many workers there should be. */
export interface Machine {
  /** Whether this is a container: there Sidekey is a service, and on a laptop one program of many. */
  readonly isContainer: boolean;
  /** Cores that this process may use, by its affinity. */
  readonly cores: number;
  /** Cores that its control group gives it time for, such as 1.5; null: no limit. */
  readonly quota: number | null;
  /** Bytes of memory that it may use; null: no limit. */
  readonly memory: number | null;
}

/** What a worker with its connections may come to use, in bytes: a small container must not be filled by its cores. */
const memoryEach = 192 * 2 ** 20;

/**
 * How many processes serve.
 * @param wanted as `workers` of the config says; null: nothing
 */
export function workerCount(wanted: number | 'auto' | null, machine: Machine): number {
  if (typeof wanted === 'number') return wanted;
  if (wanted === null && !machine.isContainer) return 1;
  const { cores, quota, memory } = machine;
  return Math.max(1, Math.floor(Math.min(cores, quota ?? Infinity, (memory ?? Infinity) / memoryEach)));
}

/** Looks at the machine that this process is on. */
export function lookAtMachine(env: NodeJS.ProcessEnv): Machine {
  const memory = process.constrainedMemory();
  return {
    isContainer: isContainer(env),
    cores: availableParallelism(),
    quota: cpuQuota(readOrNull),
    // Without a limit it answers 0 or more than any machine has.
    memory: memory > 0 && memory < 2 ** 50 ? memory : null,
  };
}

/** Docker and Podman leave a file, Kubernetes a variable, and the others `container` (systemd's Container Interface). */
function isContainer(env: NodeJS.ProcessEnv): boolean {
  return (
    existsSync('/.dockerenv') ||
    existsSync('/run/.containerenv') ||
    env['KUBERNETES_SERVICE_HOST'] !== undefined ||
    env['container'] !== undefined
  );
}

/**
 * The CPU time that control groups give, in cores; null: no limit that can be seen from here. In a container the group is
 * mounted as the root; elsewhere `/proc/self/cgroup` says where it is. The least of it and of those above it counts.
 *
 * @param read the text of a file; null: there is none
 */
export function cpuQuota(read: (path: string) => string | null): number | null {
  const quotas: number[] = [];
  for (const line of (read('/proc/self/cgroup') ?? '').split('\n')) {
    const [, controllers = '', path = '/'] = /^\d+:([^:]*):(\/.*)$/.exec(line) ?? [];
    const isUnified = line.startsWith('0::');
    if (!isUnified && !controllers.split(',').includes('cpu')) continue;
    for (const folder of upFrom(path)) {
      if (isUnified) quotas.push(coresOf(...pair(read(`/sys/fs/cgroup${folder}/cpu.max`))));
      else {
        const at = `/sys/fs/cgroup/cpu${folder}/cpu.cfs`;
        quotas.push(coresOf(read(`${at}_quota_us`), read(`${at}_period_us`)));
      }
    }
  }
  const least = Math.min(...quotas);
  return Number.isFinite(least) ? least : null;
}

/** `/a/b` → `/a/b`, `/a` and the root. */
function upFrom(path: string): string[] {
  const names = path.split('/').filter((name) => name !== '');
  return Array.from({ length: names.length + 1 }, (_, cut) =>
    names
      .slice(0, names.length - cut)
      .map((name) => `/${name}`)
      .join(''),
  );
}

/** `QUOTA PERIOD` in microseconds; `max` is none (https://docs.kernel.org/admin-guide/cgroup-v2.html, cpu.max). */
function pair(text: string | null): [string | null, string | null] {
  const [quota = null, period = null] = text?.trim().split(' ') ?? [];
  return [quota, period];
}

function coresOf(quota: string | null, period: string | null): number {
  const cores = Number(quota ?? NaN) / Number(period ?? NaN);
  return cores > 0 ? cores : Infinity;
}

function readOrNull(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return null;
  }
}
