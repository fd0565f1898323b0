import { closeSync, fstatSync, openSync, readdirSync, readFileSync as readText } from 'node:fs';
import { dirname, join, sep } from 'node:path';
import { SidekeyError } from '../../lib/errors.ts';
import { loadForeignFunctions } from '../../lib/foreign-functions.ts';
import { type Access, type AccessRules, isClosed, privateFolders } from './access.ts';

/** Landlock (landlock(7)) and other restrictions of a process, before it becomes the command. */

/** Rights on files (`linux/landlock.h`), by the version that has them. */
const execute = 1n << 0n;
const writeFile = 1n << 1n;
const readFile = 1n << 2n;
const readDir = 1n << 3n;
const makeDevices = (1n << 6n) | (1n << 11n);
const truncate = 1n << 14n;
const handledByVersion: readonly bigint[] = [0n, (1n << 13n) - 1n, (1n << 14n) - 1n, (1n << 15n) - 1n];
const reading = execute | readFile | readDir;
/** Rights that a rule for a file may have; others are for folders. */
const ofFiles = execute | writeFile | readFile | truncate;

const connectTcp = 2n;
/** Scopes: abstract Unix sockets, and signals. */
const scopes = { sockets: 1n, signals: 2n };
const calls = { createRuleset: 444n, addRule: 445n, restrictSelf: 446n };
const ruleType = { path: 1n, port: 2n };
/** `O_PATH` and `O_NOFOLLOW` of Linux on x64 and arm64. */
const openPath = 0x200000;
const noFollow = process.arch === 'arm64' ? 0x8000 : 0x20000;
/** Operations of prctl(2). */
const prctl = { seccomp: 22n, dropBounding: 24n, noNewPrivileges: 38n, ambient: 47n };
const filterMode = 2n;
const clearAll = 4n;
/** Number of a capability that no kernel has yet. */
const lastCapability = 63n;

/** Version that introduced the rules for TCP, and version that introduced the scopes. */
const versions = { tcp: 4, scopes: 6 };

/** Access to a path, for Landlock: to list, to read, or to write. */
type Right = 'list' | 'read' | 'write';

/** Parts that a process restricts itself to. */
export interface Restriction {
  readonly rules: AccessRules;
  /** True if bubblewrap has mounted the plan, so `/tmp`, `/run`, `/dev` and `/proc` belong to the run. */
  readonly mounted: boolean;
  /** Port of the proxy, the only permitted one; null: all ports, in the network namespace of the run. */
  readonly port: number | null;
  /** Devices that the command may use if it has no separate mounts. */
  readonly devices: readonly string[];
  /** Filter of system calls; null: bubblewrap has installed it. */
  readonly seccomp: Uint8Array | null;
}

interface System {
  (number: bigint, ...args: readonly (bigint | Uint8Array)[]): bigint;
}

/** Returns the version of Landlock that this system has; 0: none, or this Node.js cannot call it. */
export async function landlockVersion(): Promise<number> {
  try {
    const { system } = await openSystem();
    return Math.max(0, Number(system(calls.createRuleset, 0n, 0n, 1n)));
  } catch {
    return 0;
  }
}

/**
 * Restricts this process, and so the command that it becomes by `execve(2)`. If bubblewrap has mounted the
 * plan, and the system has no Landlock, does nothing.
 *
 * @throws SidekeyError `confinement_failed`: the system refuses a part
 */
export async function restrict({ rules, mounted, port, devices, seccomp }: Restriction): Promise<void> {
  const version = Math.min(7, await landlockVersion());
  if (mounted && version === 0) return;
  if (!mounted) must('Landlock', BigInt(version - versions.scopes));
  const { system, control } = await openSystem();
  const handled = handledByVersion[Math.min(version, 3)]!;
  const scoped = version < versions.scopes ? 0n : mounted ? scopes.sockets : scopes.sockets | scopes.signals;
  const hasPorts = version >= versions.tcp && port !== null;
  const attributes = words(handled, hasPorts ? connectTcp : 0n, scoped);
  const size = version >= versions.scopes ? 24n : version >= versions.tcp ? 16n : 8n;
  const ruleset = must('ruleset', system(calls.createRuleset, attributes, size, 0n));
  const permit = (fd: number, rights: bigint) => {
    const possible = fstatSync(fd).isDirectory() ? handled : handled & ofFiles;
    const rule = Buffer.concat([words(rights & possible), Buffer.alloc(4)]);
    rule.writeInt32LE(fd, 8);
    return system(calls.addRule, ruleset, ruleType.path, rule, 0n);
  };
  // The command may open its standard files once more (/dev/stdin). Pipes need no rule.
  for (const fd of [0, 1, 2]) permit(fd, rightsOfOpened(fd));
  for (const [path, right] of rightsOf(rules, mounted, devices)) {
    let fd: number;
    try {
      fd = openSync(path, openPath | noFollow);
    } catch {
      // It has gone, or belongs to others: the command cannot use it either.
      continue;
    }
    const rights = right === 'list' ? readDir : right === 'read' ? reading : handled & ~makeDevices;
    must(`rule for ${path}`, permit(fd, rights));
    closeSync(fd);
  }
  if (hasPorts)
    must(
      'rule for the port',
      system(calls.addRule, ruleset, ruleType.port, words(connectTcp, BigInt(port)), 0n),
    );
  must('privileges', control(prctl.noNewPrivileges, 1n));
  if (!mounted) dropCapabilities(control);
  must('restriction', system(calls.restrictSelf, ruleset, 0n));
  if (seccomp !== null) must('filter of system calls', control(prctl.seccomp, filterMode, seccomp));
}

/** Returns the rights with which a file has been opened (proc_pid_fdinfo(5)). */
function rightsOfOpened(fd: number): bigint {
  const [, flags = ''] = /^flags:\s+([0-7]+)/m.exec(readText(`/proc/self/fdinfo/${fd}`, 'latin1')) ?? [];
  const mode = Number.parseInt(flags, 8) & 3;
  return mode === 0 ? readFile : mode === 1 ? writeFile : readFile | writeFile;
}

/** Drops all capabilities of root, as bubblewrap does. */
function dropCapabilities(control: System): void {
  if (process.getuid?.() !== 0) return;
  for (let capability = 0n; capability <= lastCapability; capability += 1n)
    if (control(prctl.dropBounding, capability) < 0n) break;
  control(prctl.ambient, clearAll);
}

/** @throws SidekeyError `confinement_failed` */
function must(part: string, result: bigint): bigint {
  if (result >= 0n) return result;
  throw new SidekeyError('confinement_failed', `The system refuses a part of the confinement (${part}).`, {
    hint: 'run without it, if you trust the program: --no-isolate',
  });
}

/** Encodes unsigned 64-bit numbers in the byte order of this machine. */
function words(...values: readonly bigint[]): Buffer {
  const bytes = Buffer.alloc(8 * values.length);
  values.forEach((value, index) => bytes.writeBigUInt64LE(value, 8 * index));
  return bytes;
}

async function openSystem(): Promise<{ readonly system: System; readonly control: System }> {
  const { dlopen, getRawPointer } = await loadForeignFunctions('Landlock');
  const numbers = ['i64', 'i64', 'i64', 'i64', 'i64', 'i64', 'i64'] as const;
  const { functions } = dlopen(null, { syscall: { arguments: numbers, return: 'i64' } });
  const { syscall } = functions;
  const asNumber = (value: bigint | Uint8Array) => (typeof value === 'bigint' ? value : getRawPointer(value));
  const system: System = (number, ...args) => {
    const [a = 0n, b = 0n, c = 0n, d = 0n, e = 0n, f = 0n] = args.map(asNumber);
    return syscall(number, a, b, c, d, e, f);
  };
  const prctlNumber = process.arch === 'arm64' ? 167n : 157n;
  /** A filter is passed by a struct of its length in instructions and its address (`struct sock_fprog`). */
  const control: System = (operation, ...args) =>
    system(prctlNumber, operation, ...args.map((each) => (typeof each === 'bigint' ? each : filterOf(each))));
  const filterOf = (program: Uint8Array) => words(BigInt(program.length / 8), getRawPointer(program));
  return { system, control };
}

/**
 * Returns the rights that permit what the plan permits, and nothing else. A right of Landlock holds for all
 * that is below a path. If a path is absent, the other entries of the folders above it are permitted one by
 * one. Below a writable folder, `fixed` cannot be expressed.
 */
export function rightsOf(
  rules: AccessRules,
  mounted: boolean,
  devices: readonly string[],
): readonly (readonly [path: string, right: Right])[] {
  const all = new Map(rules);
  if (mounted) {
    // Nobody may write below /proc/sys: bubblewrap mounts it read only.
    for (const path of [...privateFolders, '/dev', '/proc']) all.set(path, 'write');
  } else {
    for (const path of devices) all.set(path, 'write');
    if (!all.has('/dev')) all.set('/dev', 'absent');
  }
  // bubblewrap leaves out what is closed in a folder that may be written.
  const isMounted = (access: Access) => mounted && (access === 'write' || access === 'scratch');
  const rights: [string, Right][] = mounted ? [['/', 'list']] : [];

  const rulesBelow = new Map<string, [string, Access][]>();
  for (const rule of all)
    for (let folder = rule[0]; folder !== sep;) {
      folder = dirname(folder);
      const rulesOf = rulesBelow.get(folder) ?? [];
      rulesOf.push(rule);
      rulesBelow.set(folder, rulesOf);
    }

  function walk(path: string, inherited: Access): void {
    const access = all.get(path) ?? inherited;
    const below = rulesBelow.get(path) ?? [];
    if (isClosed(access)) {
      // Paths below with other access have rules of their own.
      for (const [each, entryAccess] of below) if (!isClosed(entryAccess)) walk(each, entryAccess);
    } else if (below.some(([, entryAccess]) => isClosed(entryAccess)) && !isMounted(access)) {
      for (const entry of entriesOf(path)) walk(entry, access);
    } else {
      rights.push([path, access === 'write' || isMounted(access) ? 'write' : 'read']);
      for (const [each, entryAccess] of below)
        if (entryAccess === 'write' || isMounted(entryAccess)) rights.push([each, 'write']);
    }
  }
  walk(sep, 'read');
  return rights;
}

/** Returns the entries that are not links. The target of a link has separate rights. */
function entriesOf(path: string): readonly string[] {
  try {
    const entries = readdirSync(path, { withFileTypes: true });
    return entries.filter((entry) => !entry.isSymbolicLink()).map(({ name }) => join(path, name));
  } catch {
    return [];
  }
}
