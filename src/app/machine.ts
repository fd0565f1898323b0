import { existsSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { setFlagsFromString } from 'node:v8';

/**
 * Lets V8's young generation grow (decision 146). Collects it at 40 % use: by default, 64 MB of upload
 * buffers pile up outside of V8's heap. Below 40 %, an exchange survives two collections (decision 65).
 */
export function tuneGarbageCollection(): void {
  setFlagsFromString('--semi-space-growth-factor=2');
  setFlagsFromString('--minor-gc-task-trigger=40');
}

/** Facts of the machine that decide how many workers run. */
export interface Machine {
  /** True in a container, which runs Sidekey as a service. A laptop runs many other programs. */
  readonly isContainer: boolean;
  /** Cores in the CPU affinity of this process. */
  readonly cores: number;
  /** CPU limit of the control group in cores, such as 1.5; null: no limit. */
  readonly quota: number | null;
  /** Memory limit in bytes; null: no limit. */
  readonly memory: number | null;
}

/** Memory of a busy worker, in bytes: workers on many cores must not fill a small container. */
const workerMemory = 192 * 2 ** 20;

/**
 * Returns the number of worker processes.
 *
 * @param wanted `workers` of the config; null: not set
 */
export function workerCount(wanted: number | 'auto' | null, machine: Machine): number {
  if (typeof wanted === 'number') return wanted;
  if (wanted === null && !machine.isContainer) return 1;
  const { cores, quota, memory } = machine;
  return Math.max(1, Math.floor(Math.min(cores, quota ?? Infinity, (memory ?? Infinity) / workerMemory)));
}

export function readMachine(env: NodeJS.ProcessEnv): Machine {
  const memory = process.constrainedMemory();
  return {
    isContainer: isContainer(env),
    cores: availableParallelism(),
    quota: cpuQuota(readOrNull),
    // 0, or a limit above any machine's memory: no limit.
    memory: memory > 0 && memory < 2 ** 50 ? memory : null,
  };
}

/** Detects Docker and Podman by a file, Kubernetes by a variable, others by `container` (systemd). */
function isContainer(env: NodeJS.ProcessEnv): boolean {
  return (
    existsSync('/.dockerenv') ||
    existsSync('/run/.containerenv') ||
    env['KUBERNETES_SERVICE_HOST'] !== undefined ||
    env['container'] !== undefined
  );
}

/**
 * Returns the CPU limit of the control groups, in cores; null: no visible limit. A container mounts its group
 * as the root. Elsewhere `/proc/self/cgroup` has its path. The smallest limit of it and its parents applies.
 *
 * @param read returns the text of a file; null: there is none
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

/** Returns a path and its parents: `/a/b` → `/a/b`, `/a` and the root. */
function upFrom(path: string): string[] {
  const names = path.split('/').filter((name) => name !== '');
  return Array.from({ length: names.length + 1 }, (_, cut) =>
    names
      .slice(0, names.length - cut)
      .map((name) => `/${name}`)
      .join(''),
  );
}

/** Parses `QUOTA PERIOD`, µs or `max` (https://docs.kernel.org/admin-guide/cgroup-v2.html, cpu.max). */
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
