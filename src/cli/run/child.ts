import { type ChildProcess, execFileSync } from 'node:child_process';
import { closeSync, constants as files, existsSync, openSync, readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { delimiter, dirname, join, resolve as absolute } from 'node:path';
// Finds and quotes the .cmd files of Windows, such as npm.cmd; elsewhere it is that of Node.js.
import spawn from 'cross-spawn';
import type { Confined } from '../../clients/confine/confine.ts';
import { SidekeyError, systemCode } from '../../lib/errors.ts';
import { processStat } from '../../lib/os.ts';
import { shellWord } from '../../lib/text.ts';

/** End of a child process. */
export type ChildEnd =
  | { readonly kind: 'exit'; readonly code: number }
  | { readonly kind: 'signal'; readonly signal: NodeJS.Signals }
  /** The child did not start: exit codes of env(1) and shells. */
  | { readonly kind: 'failed'; readonly code: 126 | 127; readonly error: SidekeyError };

interface Command {
  readonly program: string;
  readonly words: readonly string[];
  readonly env: NodeJS.ProcessEnv;
}

/**
 * Runs a command with the input, output, terminal and process group of this process, without a shell.
 * Resolves when it has ended; never rejects.
 */
export function runChild({ program, words, env }: Command, signals: Signals): Promise<ChildEnd> {
  return new Promise((resolve) => {
    const child = spawn(program, words, { stdio: 'inherit', env, shell: false });
    let handBack: (() => void) | null = null;
    child.once('error', (cause) => {
      // On Windows, cmd.exe has started, and has not found the program.
      if (child.pid !== undefined && systemCode(cause) !== 'ENOENT') return;
      handBack?.();
      resolve(failed({ program, words, env }, cause, false));
    });
    if (child.pid === undefined) return;
    handBack = hold(child, signals);
    child.once('exit', (code, signal) => {
      handBack?.();
      resolve(signal === null ? { kind: 'exit', code: code ?? 1 } : { kind: 'signal', signal });
    });
  });
}

/**
 * Runs a command in a confined process, like `runChild`. If a signal ends the command, bubblewrap exits with
 * 128 + n, as shells do.
 */
export async function runConfined(
  { child, exit, execute }: Confined,
  command: Command & { readonly port: number },
  signals: Signals,
): Promise<ChildEnd> {
  let release: (() => void) | null = null;
  try {
    release = hold(child, signals, await execute(command, command.port));
    const [code, ownSignal] = await exit;
    const signal = ownSignal ?? signalNames.get((code ?? 1) - 128);
    return signal === undefined ? { kind: 'exit', code: code ?? 1 } : { kind: 'signal', signal };
  } catch (error) {
    await exit;
    if (error instanceof SidekeyError) throw error;
    return failed(command, error as Error, true);
  } finally {
    release?.();
  }
}

/** Signals by number. SIGABRT and SIGIO have a second name, later in the list: SIGIOT and SIGPOLL. */
const signalNames: ReadonlyMap<number, NodeJS.Signals> = new Map(
  Object.entries(constants.signals)
    .toReversed()
    .map(([name, number]) => [number, name as NodeJS.Signals]),
);

function hold(
  child: ChildProcess,
  signals: Signals,
  /** Process of the command: the child, or one below it. */
  pid = child.pid,
): () => void {
  signals.passTo((signal) => void (pid === child.pid ? child.kill(signal) : signalProcess(pid, signal)));
  const release = stopWith({ pid });
  // The system reports a stop to the parent of the command only.
  const looking =
    pid === child.pid ? undefined : setInterval(() => process.emit('SIGCHLD', 'SIGCHLD'), lookMs);
  // If this process fails first, the command has lost its proxy.
  const end = () => void child.kill('SIGTERM');
  process.once('exit', end);
  return () => {
    process.off('exit', end);
    clearInterval(looking);
    release();
    signals.passTo(null);
  };
}

function signalProcess(pid: number | undefined, signal: NodeJS.Signals): void {
  try {
    if (pid !== undefined) process.kill(pid, signal);
  } catch {
    // The command has ended.
  }
}

/** An unsearchable folder of the PATH yields `EACCES` for a program that does not exist. */
function isNowhere(program: string, { PATH = '' }: NodeJS.ProcessEnv): boolean {
  return (
    !program.includes('/') &&
    PATH.split(delimiter).every((folder) => folder === '' || !existsSync(join(folder, program)))
  );
}

/** Returns the file of a program outside of the confinement; undefined if there is none. */
function whereIs(program: string, { PATH = '' }: NodeJS.ProcessEnv): string | undefined {
  const places = program.includes('/')
    ? [absolute(program)]
    : PATH.split(delimiter).flatMap((folder) => (folder === '' ? [] : [join(folder, program)]));
  return places.find((place) => existsSync(place));
}

/** Returns the program in the first line of a script (`#!`); null if there is none. */
function interpreterOf(file: string): string | null {
  try {
    return /^#! *(\S+)/.exec(readFileSync(file, 'latin1').slice(0, 256))?.[1] ?? null;
  } catch {
    return null;
  }
}

function failed({ program, env }: Command, cause: Error, isConfined: boolean): ChildEnd {
  const code = systemCode(cause);
  const file = code === 'ENOENT' ? whereIs(program, env) : undefined;
  const interpreter = file === undefined ? null : interpreterOf(file);
  if (file !== undefined && interpreter !== null && !existsSync(interpreter)) {
    const error = new SidekeyError('not_found', `${file} needs ${interpreter}, which does not exist.`, {
      hint: 'install it, or correct the first line of the file',
      cause,
    });
    return { kind: 'failed', code: 127, error };
  }
  if (file !== undefined && isConfined) {
    const error = new SidekeyError('not_found', `The confined command does not see ${file}.`, {
      hint: `sidekey run --show ${shellWord(dirname(file))} -- ${shellWord(program)}, or put the program into a folder outside of /tmp`,
      cause,
    });
    return { kind: 'failed', code: 127, error };
  }
  if ((code === 'ENOENT' && file === undefined) || (code === 'EACCES' && isNowhere(program, env))) {
    const error = new SidekeyError('not_found', `Program not found: ${program}.`, {
      hint: program.includes('/') ? 'check the path' : 'check its name, and PATH',
      cause,
    });
    return { kind: 'failed', code: 127, error };
  }
  const error = new SidekeyError('input_invalid', `${program} cannot be run (${code}).`, {
    hint:
      code === 'EACCES'
        ? 'the file is not executable: chmod +x'
        : 'check that it is a program for this machine',
    cause,
  });
  return { kind: 'failed', code: 126, error };
}

/** Signals that dump core by default: a dump of this process would contain keys. */
const dumping: ReadonlySet<NodeJS.Signals> = new Set([
  'SIGQUIT',
  'SIGILL',
  'SIGTRAP',
  'SIGABRT',
  'SIGBUS',
  'SIGFPE',
  'SIGSEGV',
  'SIGXCPU',
  'SIGXFSZ',
  'SIGSYS',
]);

/**
 * Ends this process like the child, so that its parent sees the same signal. Returns the exit code of shells
 * for a signal that dumps core or does not end the process.
 */
export function endAs(signal: NodeJS.Signals): number {
  if (!dumping.has(signal)) {
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
  }
  return 128 + constants.signals[signal];
}

/** Delay before the child is checked: a process that continues this one must continue the child first. */
const soonMs = 20;
/** Interval at which a command is checked that is no child of this process. */
const lookMs = 250;

/**
 * Stops this process when its child has stopped by itself, as after Ctrl-Z: the shell waits only for this
 * process. When this process continues, the child is continued. Returns a function that ends this.
 */
export function stopWith({ pid }: Pick<ChildProcess, 'pid'>): () => void {
  let timer: NodeJS.Timeout | undefined;
  const look = () => {
    if (pid !== undefined && isStopped(pid)) process.kill(process.pid, 'SIGSTOP');
  };
  const lookSoon = () => {
    clearTimeout(timer);
    timer = setTimeout(look, soonMs);
  };
  // SIGCHLD is also sent for stopped children.
  process.on('SIGCHLD', lookSoon);
  // The child may have stopped before the listener was added.
  lookSoon();
  return () => {
    clearTimeout(timer);
    process.off('SIGCHLD', lookSoon);
  };
}

/** Reports whether a signal has stopped a process; a debugger does not count. */
function isStopped(pid: number): boolean {
  if (process.platform === 'linux') return processStat(pid)?.state === 'T';
  try {
    return execFileSync('ps', ['-o', 'state=', '-p', String(pid)], { encoding: 'latin1' }).startsWith('T');
  } catch {
    // It has ended.
    return false;
  }
}

/** The signals of a process with a child. */
export type Signals = ReturnType<typeof takeSignals>;

/** Signals that the terminal sends to all processes of its group. */
const ofTheTerminal = ['SIGINT', 'SIGQUIT'] as const;
const ending = ['SIGTERM', 'SIGHUP'] as const;
/** Signals that are forwarded. The child may also receive one from the terminal; a second one is harmless. */
const others = ['SIGUSR1', 'SIGUSR2', 'SIGWINCH', 'SIGCONT'] as const;

/** Time within which a second signal is a duplicate: npm forwards the signals of the terminal. */
const sameSignalMs = 500;

/**
 * Installs signal handlers. Before the command starts, terminating signals are remembered; while it runs, all
 * are forwarded except those of the terminal; afterwards they are delayed while this process ends.
 */
export function takeSignals(now: () => number) {
  const isGivenByTerminal = hasTerminal();
  let receive: ((signal: NodeJS.Signals) => void) | null = null;
  let ended: NodeJS.Signals | null = null;
  let over: number | null = null;

  function end(signal: NodeJS.Signals, isGiven: boolean): void {
    if (receive !== null) {
      if (!isGiven) receive(signal);
    } else if (over === null) ended ??= signal;
    else if (now() - over > sameSignalMs) process.exit(128 + constants.signals[signal]);
  }

  for (const signal of ofTheTerminal) process.on(signal, () => end(signal, isGivenByTerminal));
  for (const signal of ending) process.on(signal, () => end(signal, false));
  for (const signal of others) process.on(signal, () => receive?.(signal));
  return {
    /** Signal that asked this process to end before the child started. */
    get ended() {
      return ended;
    },
    /** Passes later signals to a command; null: it has ended. */
    passTo(next: ((signal: NodeJS.Signals) => void) | null): void {
      receive = next;
      if (next === null) over = now();
    },
  };
}

/** Reports whether this process has a terminal that could send it signals. */
function hasTerminal(): boolean {
  try {
    closeSync(openSync('/dev/tty', files.O_RDONLY | files.O_NOCTTY));
    return true;
  } catch {
    return false;
  }
}
