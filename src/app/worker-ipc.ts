import { lookup } from 'node:dns/promises';
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import net, { type AddressInfo } from 'node:net';
import { availableParallelism } from 'node:os';
import { join, parse } from 'node:path';
import { getSystemErrorName } from 'node:util';
import { z } from 'zod';
import type { AuditEvent } from '../audit/event.ts';
import { type FailureCode, listenFailure } from '../lib/errors.ts';

/** A socket that has its port, and on which workers take connections. Its owner takes none. */
export interface ListeningSocket {
  readonly address: AddressInfo;
  /** What goes to workers with a message, and what their servers listen on. */
  readonly handle: SocketHandle;
  /** Idempotent. Workers that have it keep it. */
  close(): void;
}

/** As `net.Server.listen` and `ChildProcess.send` take it. */
export interface SocketHandle {
  close(): void;
}

/** What Node's own cluster makes the sockets with that it shares. Its types do not say it. */
interface HandleMaker {
  readonly _createServerHandle: (
    address: string,
    port: number,
    family: 4 | 6,
  ) => (SocketHandle & Named) | number;
}

interface Named {
  /** Fills in the address; answers 0, or an error of the system as a negative number. */
  getsockname(into: object): number;
}

/**
 * Takes the port. Node's servers take connections as soon as they have one, and here only workers must, so this is
 * the handle below a server (decision 26).
 *
 * @throws SidekeyError `port_in_use`, `listen_failed`
 */
export async function openListeningSocket(host: string, port: number): Promise<ListeningSocket> {
  const refuse = (code: string) =>
    listenFailure(Object.assign(new Error(code), { code }), { host, port, setting: 'proxy.listen' });
  const { address, family } = await lookup(host).catch((error: NodeJS.ErrnoException) => {
    throw refuse(error.code ?? 'unknown error');
  });
  const { _createServerHandle: bind } = net as unknown as HandleMaker;
  const handle = bind(address, port, family === 6 ? 6 : 4);
  if (typeof handle === 'number') throw refuse(getSystemErrorName(handle));
  const bound = {} as AddressInfo;
  // A port that another program has shows only here.
  const error = handle.getsockname(bound);
  if (error !== 0) {
    handle.close();
    throw refuse(getSystemErrorName(error));
  }
  let isOpen = true;
  return {
    address: bound,
    handle,
    close() {
      if (isOpen) handle.close();
      isOpen = false;
    },
  };
}

/** What a supervisor and its workers say to each other, over the channel between them: nobody else can. */

/** Where the pages for people are, in the supervisor. */
export interface Pages {
  /** What links begin with; null: nothing listens for them. */
  readonly url: string | null;
  readonly port: number | null;
}

/** From the supervisor. The listening socket comes with `serve`. */
export type ToWorker =
  | {
      readonly kind: 'serve';
      /** The config file, and the text of it that is in force: the file itself may be wrong by now. */
      readonly file: string;
      readonly text: string;
      readonly pages: Pages;
      /** What keys of session tickets are derived from: a client may come back to another worker. */
      readonly ticketMaterial: Uint8Array;
    }
  /** Reads the config file anew. */
  | { readonly kind: 'reload' }
  /** Lets what is under way end, for as long as the config says, and ends. */
  | { readonly kind: 'stop' };

/** From a worker. */
export type ToSupervisor =
  /** It serves. A handle of the listening socket comes with it. */
  | { readonly kind: 'ready' }
  /** It could not begin. */
  | {
      readonly kind: 'failed';
      readonly code: FailureCode;
      readonly message: string;
      readonly hint: string | undefined;
    }
  /** A config has come into force in it, or was refused. */
  | { readonly kind: 'config'; readonly event: AuditEvent }
  /** A request got a credential; said now and then. */
  | { readonly kind: 'used' }
  /** It was told by the system to end, and takes no more. */
  | { readonly kind: 'leaving' };

/** What runs, for `sidekey status`: which process supervises, and which serve. */
interface Running {
  readonly pid: number;
  readonly workers: readonly number[];
}

const shape = z.object({ pid: z.int().min(1), workers: z.array(z.int().min(1)) });

/** The file that says it, beside the store at `storePath`: there may be several proxies of one store, each with a port. */
export function runFileOf(storePath: string, port: number): string {
  const { dir, name } = parse(storePath);
  return join(dir, `${name}-workers-${port}.json`);
}

/** Puts it in the place of what was said before. */
export function writeRunning(file: string, running: Running): void {
  writeFileSync(`${file}.new`, `${JSON.stringify(running)}\n`, { mode: 0o600 });
  renameSync(`${file}.new`, file);
}

/** Null: none of that file runs any more; what a killed one left behind says nothing. */
export function readRunning(file: string): Running | null {
  try {
    const { pid, workers } = shape.parse(JSON.parse(readFileSync(file, 'utf8')));
    return isThere(pid) ? { pid, workers: workers.filter(isThere) } : null;
  } catch {
    return null;
  }
}

/** To be called when it has ended. */
export function removeRunning(file: string): void {
  rmSync(file, { force: true });
}

function isThere(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    // It is there, and another user's.
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

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
