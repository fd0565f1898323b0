import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, fstatSync, mkdirSync, readdirSync, readFileSync, realpathSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { SidekeyError, systemCode } from '../lib/errors.ts';
import { door, isExecutable } from '../lib/package-files.ts';
import { realPath } from '../lib/paths.ts';
import { runBounded } from '../lib/programs.ts';
import { runVariable } from './access.ts';
import { bubblewrapArguments, probeArguments, systemProgram } from './bubblewrap.ts';
import type { Failed, Order, Ready } from './inside.ts';
import { landlockVersion } from './landlock.ts';
import { homeFolders, repositoryOf } from './places.ts';
import { strangeMount } from './mounts.ts';
import type { Plan } from './plan.ts';
import { seccompProgram } from './seccomp.ts';

/** Mechanisms that confine commands on this machine. */
export interface Mechanisms {
  /** Path of bubblewrap; null: namespaces are not to be had, and Landlock alone confines. */
  readonly bubblewrap: string | null;
  /** True if Landlock is used. */
  readonly landlock: boolean;
}

/** Lowest version of Landlock that confines alone: it has rules for TCP, for signals and for abstract sockets. */
const sufficientLandlock = 6;
const probeTimeoutMs = 10_000;

/**
 * Finds out how this machine can confine commands.
 *
 * @throws SidekeyError `confinement_missing`: it cannot, with the reason and the way out
 */
export async function findMechanisms(env: NodeJS.ProcessEnv): Promise<Mechanisms> {
  if (process.platform !== 'linux')
    throw new SidekeyError('confinement_missing', 'Commands are confined on Linux only.', {
      hint: 'run the program in a container that reaches nothing but the proxy (docs/containers.md), or with --no-isolate',
    });
  const landlock = await landlockVersion();
  const here = realPath(process.cwd());
  const untrusted = [...homeFolders(env), repositoryOf(here)?.tree ?? here].filter((each) => each !== '/');
  const bubblewrap = systemProgram('bwrap', env['PATH'] ?? '', untrusted);
  const reason = bubblewrap === null ? 'bubblewrap is not installed' : await refusalOf(bubblewrap);
  if (reason === null) return { bubblewrap, landlock: landlock > 0 };
  if (landlock >= sufficientLandlock) return { bubblewrap: null, landlock: true };
  throw new SidekeyError('confinement_missing', `This machine cannot confine a command: ${reason}.`, {
    hint:
      bubblewrap === null
        ? 'install the package bubblewrap (apt, dnf, pacman, apk), or run with --no-isolate'
        : 'permit user namespaces (sysctl kernel.unprivileged_userns_clone=1; on Ubuntu an AppArmor profile for bwrap), or run with --no-isolate',
  });
}

/** Returns why bubblewrap cannot make its namespaces; null: it can. */
async function refusalOf(bubblewrap: string): Promise<string | null> {
  const argv = [bubblewrap, ...probeArguments];
  const end = await runBounded({ argv, cwd: '/', env: {}, timeoutMs: probeTimeoutMs, maxBytes: 4_096 });
  if (end.kind === 'ended' && end.code === 0) return null;
  const [line = ''] = end.kind === 'ended' ? end.error.split('\n', 1) : [];
  return `bubblewrap may not make namespaces${line && ` (${line})`}`;
}

/** Folders of one run, which end with it. */
export interface RunFolder {
  /** For files that the command reads: the CA bundle and what programs want of it. */
  readonly trust: string;
  /** Returns an empty folder for a path that the command has for itself. */
  readonly room: (path: string) => string;
  close(): Promise<void>;
}

/** @throws SidekeyError `file_unwritable` */
export async function openRunFolder(): Promise<RunFolder> {
  let folder: string;
  try {
    folder = realpathSync(await mkdtemp(join(tmpdir(), 'sidekey-run-')));
  } catch (cause) {
    const sentence = `The files of the command cannot be written: ${tmpdir()} cannot be written (${systemCode(cause)}).`;
    throw new SidekeyError('file_unwritable', sentence, { hint: 'set TMPDIR to a folder of yours', cause });
  }
  const made = (name: string) => {
    const path = join(folder, name);
    mkdirSync(path, { recursive: true, mode: 0o700 });
    return path;
  };
  return {
    trust: made('trust'),
    room: (path) => made(path.replaceAll('/', '_')),
    close: () => rm(folder, { recursive: true, force: true }).catch(() => undefined),
  };
}

/** A process that waits for its command, confined. */
export interface Confined {
  /** Listening socket in the network of the command; null: the command has the network of this machine. */
  readonly socket: { close(): void } | null;
  readonly child: ChildProcess;
  /** Variables that the command has besides its own. */
  readonly variables: Readonly<Record<string, string>>;
  /**
   * Sends the command. Resolves when it runs, with its process ID.
   *
   * @param port port of the proxy, which alone may be connected to where the command has no network of its own
   * @throws SidekeyError as `execve(2)`: `code` of the system
   */
  readonly execute: (command: Pick<Order, 'program' | 'words' | 'env'>, port: number) => Promise<number>;
}

/** Starts of bubblewrap: a mount fails if its place disappears or is replaced between the plan and the mount. */
const maxStarts = 3;

/**
 * Starts the process of a command. Nothing of the person's environment is in it, nor in bubblewrap.
 *
 * @throws SidekeyError `confinement_failed`; `input_invalid`: a folder is open as its input or output
 */
export async function confine(
  plan: Plan,
  { bubblewrap, landlock }: Mechanisms,
  run: RunFolder,
): Promise<Confined> {
  assertNoOpenFolder();
  const apart = bubblewrap !== null;
  let waiting: Waiting | null = null;
  for (let starts = 0; waiting === null && starts < (apart ? maxStarts : 1); starts += 1)
    waiting = await (apart ? startApart(bubblewrap, plan, run) : firstMessage(spawnInside(plan)));
  if (waiting === null)
    throw new SidekeyError('confinement_failed', 'The confined process ended before the command started.', {
      hint: 'its message is above; run without confinement, if you trust the program: --no-isolate',
    });
  const { child, ready, socket } = waiting;
  if (!apart && ready.landlock < sufficientLandlock)
    throw new SidekeyError('confinement_failed', 'The confined process has no Landlock.', {
      hint: 'sidekey doctor shows what this machine can do',
    });
  const temp = apart ? '/tmp' : run.room('/tmp');
  return {
    socket,
    child,
    variables: { TMPDIR: temp, TMP: temp, TEMP: temp, [runVariable]: 'confined' },
    async execute(command, port) {
      const restriction =
        landlock && ready.landlock > 0
          ? {
              rules: apart
                ? plan.rules
                : new Map([...plan.rules, [realPath(run.trust), 'read'], [temp, 'write']] as const),
              mounted: apart,
              port: apart ? null : port,
              devices: apart ? [] : devices,
              seccomp: apart ? null : seccompProgram('tcp'),
            }
          : null;
      const pid = apart ? descendantOf(child.pid!) : child.pid!;
      const started = once(child, 'disconnect');
      const failed = once(child, 'message') as Promise<[Failed]>;
      child.send({ ...command, restriction } satisfies Order);
      const failure = await Promise.race([started.then(() => null), failed.then(([message]) => message)]);
      if (failure !== null) throw Object.assign(new Error(failure.message), { code: failure.code });
      return pid;
    },
  };
}

/**
 * Ctrl-C goes to every process of the terminal: bubblewrap would end by it, and take the command along. Ignored signals stay
 * ignored in the programs that a process becomes.
 */
const ignoringKeys = ['/bin/sh', '-c', `trap '' INT QUIT; exec "$0" "$@"`];

/**
 * Refuses a folder as standard input, output or error: what is below it can be opened outside of all mounts.
 *
 * @throws SidekeyError `input_invalid`
 */
function assertNoOpenFolder(): void {
  if (![0, 1, 2].some((fd) => fstatSync(fd).isDirectory())) return;
  throw new SidekeyError('input_invalid', 'The input or output of the command is a folder.', {
    hint: 'redirect it to a file, or to /dev/null',
  });
}

/**
 * Closes the files that this process has inherited and does not know: a program started it with them, and the command would
 * inherit them too. Those of Node.js close by themselves when a program starts (`O_CLOEXEC`).
 */
export function closeInherited(): void {
  const closesByItself = 0o2000000;
  for (const name of readdirSync('/proc/self/fd')) {
    try {
      const [, flags = ''] =
        /^flags:\s+([0-7]+)/m.exec(readFileSync(`/proc/self/fdinfo/${name}`, 'latin1')) ?? [];
      if (Number(name) > 2 && (Number.parseInt(flags, 8) & closesByItself) === 0) closeSync(Number(name));
    } catch {
      // That of the list itself.
    }
  }
}

/** Arguments of the Node.js that becomes the command. */
const insideArguments: readonly string[] = isExecutable
  ? [door, 'run', '--inside']
  : [
      fileURLToPath(new URL(`inside.${import.meta.url.endsWith('.ts') ? 'ts' : 'js'}`, import.meta.url)),
      '--inside',
    ];

/** Starts the process in the network of this machine. */
function spawnInside({ folder }: Plan): ChildProcess {
  const stdio = ['inherit', 'inherit', 'inherit', 'ipc'] as const;
  return spawn(process.execPath, [...insideArguments, 'host'], {
    stdio: [...stdio],
    env: {},
    cwd: folder,
    serialization: 'advanced',
  });
}

/** Starts the process in bubblewrap. Resolves with null if it ends, or has a mount that is not planned. */
async function startApart(bubblewrap: string, plan: Plan, run: RunFolder): Promise<Waiting | null> {
  const list = bubblewrapArguments(plan, run.room, [run.trust]);
  const waiting = await firstMessage(spawnApart(bubblewrap, plan, list));
  if (waiting === null) return null;
  const strange = strangeMount(list, descendantOf(waiting.child.pid!));
  if (strange === null) return waiting;
  waiting.socket?.close();
  waiting.child.kill('SIGKILL');
  return null;
}

function spawnApart(bubblewrap: string, plan: Plan, list: readonly string[]): ChildProcess {
  const [program, ...words] = [
    ...ignoringKeys,
    bubblewrap,
    ...'--args 5 --seccomp 4 --'.split(' '),
    process.execPath,
    ...insideArguments,
    'network',
  ];
  const stdio = ['inherit', 'inherit', 'inherit', 'ipc', 'pipe', 'pipe'] as const;
  const child = spawn(program, words, {
    stdio: [...stdio],
    env: {},
    cwd: plan.folder,
    serialization: 'advanced',
  });
  const [, , , , filterPipe, listPipe] = child.stdio as readonly unknown[];
  send(filterPipe, seccompProgram('all'));
  // Not in arguments: the command reads those of bubblewrap in /proc.
  send(listPipe, list.map((word) => `${word}\0`).join(''));
  return child;
}

function send(pipe: unknown, content: string | Buffer): void {
  const stream = pipe as Writable;
  // bubblewrap has ended: its exit says so.
  stream.on('error', () => undefined);
  stream.end(content);
}

/** A process that has said that it waits for its command. */
interface Waiting {
  readonly child: ChildProcess;
  readonly ready: Ready;
  readonly socket: Confined['socket'];
}

/** Resolves with null if the process ends before its first message. */
async function firstMessage(child: ChildProcess): Promise<Waiting | null> {
  const message = new Promise<Waiting>((resolve) => {
    child.once('message', (ready, socket: unknown) =>
      resolve({ child, ready: ready as Ready, socket: (socket as Confined['socket'] | undefined) ?? null }),
    );
  });
  return Promise.race([message, once(child, 'exit').then(() => null)]);
}

/** Returns the process that bubblewrap runs: a child of its child, which is the first of the namespace. */
function descendantOf(pid: number): number {
  return childOf(childOf(pid));
}

function childOf(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').trim().split(' ')[0]);
}

/** Devices that every program uses. */
const devices = ['null', 'zero', 'full', 'random', 'urandom', 'tty'].map((name) => `/dev/${name}`);
