import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, fstatSync, mkdtempSync, readdirSync, readFileSync, realpathSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { SidekeyError, systemCode } from '../../lib/errors.ts';
import { hintOf, remedy } from '../../lib/hint.ts';
import { makeFolder } from '../../lib/os.ts';
import { door, isExecutable } from '../../lib/package-files.ts';
import { realPath } from '../../lib/paths.ts';
import { runBounded } from '../../lib/programs.ts';
import { runVariable } from './access.ts';
import { bubblewrapArguments, probeArguments, systemProgram } from './bubblewrap.ts';
import type { Failed, Order, Restricting } from './inside.ts';
import { landlockVersion } from './landlock.ts';
import { homeFolders, repositoryOf } from './places.ts';
import { strangeMount } from './mounts.ts';
import type { Plan } from './plan.ts';
import { seccompProgram } from './seccomp.ts';

/** Mechanisms that confine commands on this machine. */
export interface Mechanisms {
  /** Path of bubblewrap; null: it cannot create namespaces, so only Landlock confines. */
  readonly bubblewrap: string | null;
  /** True if Landlock is used. */
  readonly landlock: boolean;
}

/** Lowest version of Landlock that suffices without bubblewrap: it restricts TCP, signals, some sockets. */
const sufficientLandlock = 6;
const probeTimeoutMs = 10_000;

/**
 * Finds out how this machine can confine commands.
 *
 * @param isTried false: does not run an installed bubblewrap, because a failed start shows the same
 * @throws SidekeyError `confinement_missing`: the machine cannot, with the reason and the way out
 */
export async function findMechanisms(
  env: NodeJS.ProcessEnv,
  platform: NodeJS.Platform = process.platform,
  isTried = true,
): Promise<Mechanisms> {
  if (platform !== 'linux')
    throw new SidekeyError('confinement_missing', 'Commands are confined on Linux only.', {
      hint:
        platform === 'win32'
          ? 'run Sidekey and the program in WSL 2, which is Linux; --no-isolate runs the program unconfined'
          : 'run the program in a container (docs/containers.md) or below another sandbox (docs/sandboxes.md); --no-isolate runs it unconfined',
    });
  const here = realPath(process.cwd());
  const untrusted = [...homeFolders(env), repositoryOf(here)?.tree ?? here].filter((each) => each !== '/');
  const bubblewrap = systemProgram('bwrap', env['PATH'] ?? '', untrusted);
  if (bubblewrap !== null && !isTried) return { bubblewrap, landlock: true };
  const landlock = await landlockVersion();
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

/** Returns why bubblewrap cannot create its namespaces; null if it can. */
async function refusalOf(bubblewrap: string): Promise<string | null> {
  const argv = [bubblewrap, ...probeArguments];
  const end = await runBounded({ argv, cwd: '/', env: {}, timeoutMs: probeTimeoutMs, maxBytes: 4_096 });
  if (end.kind === 'ended' && end.code === 0) return null;
  const [line = ''] = end.kind === 'ended' ? end.error.split('\n', 1) : [];
  return `bubblewrap may not make namespaces${line && ` (${line})`}`;
}

/** Folders of one run, which end with it. */
export type RunFolder = ReturnType<typeof openRunFolder>;

/** @throws SidekeyError `file_unwritable` */
export function openRunFolder() {
  let folder: string;
  try {
    folder = realpathSync(mkdtempSync(join(tmpdir(), 'sidekey-run-')));
  } catch (cause) {
    const sentence = `The files of the command cannot be written: ${tmpdir()} cannot be written (${systemCode(cause)}).`;
    throw new SidekeyError('file_unwritable', sentence, { hint: 'set TMPDIR to a folder of yours', cause });
  }
  const made = (name: string) => {
    const path = join(folder, name);
    makeFolder(path, 0o700);
    return path;
  };
  return {
    /** Folder of the files that the command reads: the CA bundle, and its forms for some programs. */
    trust: made('trust'),
    /** Returns an empty folder for a path that the command has for itself. */
    room: (path: string) => made(path.replaceAll('/', '_')),
    close: () => rm(folder, { recursive: true, force: true }).catch(() => undefined),
  };
}

/** A process that waits for its command, confined. */
export interface Confined {
  readonly mechanisms: Mechanisms;
  /** Listening socket in the network of the command; null: the command has the network of this machine. */
  readonly socket: { close(): void } | null;
  readonly child: ChildProcess;
  /** Resolves with the end of the child. */
  readonly exit: Promise<readonly [code: number | null, signal: NodeJS.Signals | null]>;
  /** Variables that are added to those of the command. */
  readonly variables: Readonly<Record<string, string>>;
  /**
   * Sends the command. Resolves when it runs, with its process ID.
   *
   * @param port port of the proxy. Without a network namespace, the command may connect to this port only.
   * @throws SidekeyError `confinement_failed`; an error with the `code` of execve(2)
   */
  readonly execute: (command: Order, port: number) => Promise<number>;
}

/** Starts of bubblewrap: a mount fails if its place is removed or replaced between the plan and the mount. */
const maxStarts = 3;

/**
 * Confines by bubblewrap if `likely` has it. If it does not start, tries what the machine can do.
 *
 * @throws as `findMechanisms` and `confine`
 */
export async function confineAsPossible(
  plan: Plan,
  likely: Mechanisms,
  run: RunFolder,
  env: NodeJS.ProcessEnv,
): Promise<Confined> {
  try {
    return await confine(plan, likely, run);
  } catch (error) {
    const mechanisms = likely.bubblewrap === null ? likely : await findMechanisms(env);
    if (mechanisms.bubblewrap === likely.bubblewrap) throw error;
    return confine(plan, mechanisms, run);
  }
}

/**
 * Starts the process of a command. Nothing of the person's environment is in it, nor in bubblewrap.
 *
 * @throws SidekeyError `confinement_failed`; `input_invalid`: a folder is open as its input or output
 */
export async function confine(plan: Plan, mechanisms: Mechanisms, run: RunFolder): Promise<Confined> {
  assertNoOpenFolder();
  const { bubblewrap, landlock } = mechanisms;
  const apart = bubblewrap !== null;
  const start = () =>
    bubblewrap === null ? firstMessage(spawnInside(plan)) : startApart(bubblewrap, landlock, plan, run);
  let waiting = await start();
  for (let starts = 1; typeof waiting === 'string' && starts < (apart ? maxStarts : 1); starts += 1)
    waiting = await start();
  if (typeof waiting === 'string')
    throw confinementFailed(`The confined process ended before the command started${waiting}.`);
  const { child, socket } = waiting;
  const temp = apart ? '/tmp' : run.room('/tmp');
  /** The failure; null: the process has become the command. */
  const outcome = new Promise<Failed | null>((resolve) => {
    child.once('message', (message) => resolve(message as Failed));
    child.once('disconnect', () => resolve(null));
  });
  return {
    mechanisms,
    socket,
    child,
    exit: new Promise((resolve) => child.once('exit', (...end) => resolve(end))),
    variables: { TMPDIR: temp, TMP: temp, TEMP: temp, [runVariable]: 'confined' },
    async execute(command, port) {
      if (!child.connected && (await outcome) === null)
        throw confinementFailed('The confined process ended before the command started.');
      const pid = apart ? descendantOf(child.pid!) : child.pid!;
      if (!apart) {
        const rules = new Map([...plan.rules, [realPath(run.trust), 'read'], [temp, 'write']] as const);
        const restriction = { rules, mounted: false, port, devices, seccomp: seccompProgram('tcp') };
        child.send({ restriction } satisfies Restricting, ignoreFailure);
      }
      child.send(command, ignoreFailure);
      const failure = await outcome;
      if (failure?.code === 'confinement_failed') throw confinementFailed(failure.message);
      if (failure !== null) throw Object.assign(new Error(failure.message), { code: failure.code });
      return pid;
    },
  };
}

function confinementFailed(sentence: string): SidekeyError {
  return new SidekeyError('confinement_failed', sentence, {
    hint: hintOf`${remedy('health.examine')} shows what this machine can do; --no-isolate runs a program that you trust without confinement`,
  });
}

/** Ignores that a message was not sent, because the exit of the process reports its end. */
function ignoreFailure(): void {}

/**
 * Starts bubblewrap with its messages in a pipe, and with the signals of Ctrl-C and Ctrl-\ ignored. The
 * terminal sends these to every process, and they would end bubblewrap together with the command. execve(2)
 * keeps signals ignored.
 */
const outsideShell = ['/bin/sh', '-c', `trap '' INT QUIT; exec "$0" "$@" 2>&6 6>&-`];
/** Gives the command the standard error of `sidekey run`. */
const insideShell = ['/bin/sh', '-c', `exec "$0" "$@" 2>&7 7>&-`];

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
 * Closes the descriptors that this process has inherited, except standard input, output and error: the
 * command would inherit them too. Those of Node.js close when a program starts (`O_CLOEXEC`).
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
      fileURLToPath(new URL(`inside.${import.meta.url.endsWith('.ts') ? 'ts' : 'cjs'}`, import.meta.url)),
      '--inside',
    ];

/** Starts the process in the network of this machine. */
function spawnInside({ folder }: Plan): ChildProcess {
  return spawn(process.execPath, [...insideArguments, 'host'], {
    stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
    env: {},
    cwd: folder,
    serialization: 'advanced',
  });
}

/**
 * Starts the process in bubblewrap. The process restricts itself by Landlock while the proxy starts. If it
 * exits or has an unplanned mount, resolves with the reason in brackets.
 */
async function startApart(
  bubblewrap: string,
  landlock: boolean,
  plan: Plan,
  run: RunFolder,
): Promise<Waiting | string> {
  const list = bubblewrapArguments(plan, run.room, [run.trust]);
  const waiting = await firstMessage(spawnApart(bubblewrap, landlock, plan, list));
  if (typeof waiting === 'string') return waiting;
  const strange = strangeMount(list, descendantOf(waiting.child.pid!));
  if (strange === null) return waiting;
  waiting.socket?.close();
  waiting.child.kill('SIGKILL');
  return ` (${strange} is not the mount that was planned)`;
}

function spawnApart(
  bubblewrap: string,
  landlock: boolean,
  plan: Plan,
  list: readonly string[],
): ChildProcess {
  const [program, ...words] = [
    ...outsideShell,
    bubblewrap,
    ...'--args 5 --seccomp 4 --'.split(' '),
    ...insideShell,
    process.execPath,
    ...insideArguments,
    'network',
  ];
  const child = spawn(program, words, {
    stdio: ['inherit', 'inherit', 'inherit', 'ipc', 'pipe', 'pipe', 'pipe', 2],
    env: {},
    cwd: plan.folder,
    serialization: 'advanced',
  });
  const [, , , , filterPipe, listPipe] = child.stdio as readonly unknown[];
  send(filterPipe, seccompProgram('all'));
  // Not in arguments: the command reads those of bubblewrap in /proc.
  send(listPipe, list.map((word) => `${word}\0`).join(''));
  const { rules } = plan;
  const restriction = landlock ? { rules, mounted: true, port: null, devices: [], seccomp: null } : null;
  child.send({ restriction } satisfies Restricting, ignoreFailure);
  return child;
}

function send(pipe: unknown, content: string | Buffer): void {
  const stream = pipe as Writable;
  // bubblewrap has ended, which its exit reports.
  stream.on('error', () => undefined);
  stream.end(content);
}

/** A process that waits for its command. */
type Waiting = Pick<Confined, 'child' | 'socket'>;

/** Resolves when the process waits for its command, or with the reason in brackets if it ends before. */
async function firstMessage(child: ChildProcess): Promise<Waiting | string> {
  let text = '';
  const messages = (child.stdio as readonly unknown[])[6] as Readable | undefined;
  messages?.setEncoding('utf8').on('data', (piece: string) => (text = (text + piece).slice(0, 500)));
  const ready = new Promise<Waiting>((resolve) => {
    child.once('message', (_ready, socket: unknown) =>
      resolve({ child, socket: (socket as Confined['socket'] | undefined) ?? null }),
    );
  });
  const ended = once(child, messages === undefined ? 'exit' : 'close').then(() => {
    const [line = ''] = text.split('\n', 1);
    return line && ` (${line})`;
  });
  return Promise.race([ready, ended]);
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
