import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { closeSync, constants as files, existsSync, openSync, readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { delimiter, join } from 'node:path';
import { SidekeyError, systemCode } from '../../lib/errors.ts';

/** End of a child process. */
export type ChildEnd =
  | { readonly kind: 'exit'; readonly code: number }
  | { readonly kind: 'signal'; readonly signal: NodeJS.Signals }
  /** The child did not start: exit codes as of env(1) and of shells. */
  | { readonly kind: 'failed'; readonly code: 126 | 127; readonly error: SidekeyError };

interface Command {
  readonly program: string;
  readonly words: readonly string[];
  readonly env: NodeJS.ProcessEnv;
}

/**
 * Runs a command in the place of this process, as far as that goes: with its input, output and terminal, in its process
 * group, without a shell. Resolves when it has ended; never rejects.
 */
export function runChild({ program, words, env }: Command, signals: Signals): Promise<ChildEnd> {
  return new Promise((resolve) => {
    const child = spawn(program, words, { stdio: 'inherit', env, shell: false });
    child.once('error', (cause) => {
      if (child.pid === undefined) resolve(failed({ program, words, env }, cause));
    });
    if (child.pid === undefined) return;
    const handBack = hold(child, signals);
    child.once('exit', (code, signal) => {
      handBack();
      resolve(signal === null ? { kind: 'exit', code: code ?? 1 } : { kind: 'signal', signal });
    });
  });
}

function hold(child: ChildProcess, signals: Signals): () => void {
  signals.passTo((signal) => child.kill(signal));
  const release = stopWith(child);
  // Where this process ends first, over an error of its own, the command has lost its proxy.
  const end = () => void child.kill('SIGTERM');
  process.once('exit', end);
  return () => {
    process.off('exit', end);
    release();
    signals.passTo(null);
  };
}

/** A folder of the PATH that may not be looked into has the system say `EACCES` of what is nowhere at all. */
function isNowhere(program: string, { PATH = '' }: NodeJS.ProcessEnv): boolean {
  return (
    !program.includes('/') &&
    PATH.split(delimiter).every((folder) => folder === '' || !existsSync(join(folder, program)))
  );
}

function failed({ program, env }: Command, cause: Error): ChildEnd {
  const code = systemCode(cause);
  if (code === 'ENOENT' || (code === 'EACCES' && isNowhere(program, env))) {
    const error = new SidekeyError('not_found', `There is no program ${program} to run.`, {
      hint: program.includes('/') ? 'check the path' : 'check its name, and PATH',
      cause,
    });
    return { kind: 'failed', code: 127, error };
  }
  const error = new SidekeyError('input_invalid', `${program} cannot be run (${code}).`, {
    hint: code === 'EACCES' ? 'the file is not executable: chmod +x' : undefined,
    cause,
  });
  return { kind: 'failed', code: 126, error };
}

/** Signals whose default is a core dump: one of this process would hold keys. */
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
 * Ends this process as the child ended, so that the parent sees the same: with its signal; or, where the signal would
 * write this process's memory to disk, with the exit code of shells. Returns that code where the signal does not end
 * the process.
 */
export function endAs(signal: NodeJS.Signals): number {
  if (!dumping.has(signal)) {
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
  }
  return 128 + constants.signals[signal];
}

/**
 * Delay before a look at the child. A process that continues this one sees only now that the child was stopped, and
 * must continue it first.
 */
const soonMs = 20;

/**
 * Stops this process when its child has stopped, and nobody else has stopped this one: a program that takes Ctrl-Z itself
 * stops only itself, and the shell, which knows this process alone, would wait on. Whoever continues this one continues
 * the child. Answers what gives it up.
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
  // The system tells of children that stop, too.
  process.on('SIGCHLD', lookSoon);
  // The child may have stopped before this was listened for.
  lookSoon();
  return () => {
    clearTimeout(timer);
    process.off('SIGCHLD', lookSoon);
  };
}

/** Reports whether a signal has stopped a process; a debugger does not count. */
function isStopped(pid: number): boolean {
  try {
    if (process.platform === 'linux') {
      // The name of the program stands in brackets, and may hold any character (proc_pid_stat(5)).
      const [, state] = /^.*\) (\S)/s.exec(readFileSync(`/proc/${pid}/stat`, 'latin1')) ?? [];
      return state === 'T';
    }
    return execFileSync('ps', ['-o', 'state=', '-p', String(pid)], { encoding: 'latin1' }).startsWith('T');
  } catch {
    // It has ended.
    return false;
  }
}

/** The signals of a process that stands in for another one. */
export interface Signals {
  /** Signal that asked this process to end before the child started. */
  readonly ended: NodeJS.Signals | null;
  /** Gives signals that come from now on to a command; null: it has ended. */
  passTo(receive: ((signal: NodeJS.Signals) => void) | null): void;
}

/** The terminal gives these to all of its processes at once. */
const ofTheTerminal = ['SIGINT', 'SIGQUIT'] as const;
const ending = ['SIGTERM', 'SIGHUP'] as const;
/** Signals for the child. The child may have received one from the terminal already: a second one does no harm. */
const others = ['SIGUSR1', 'SIGUSR2', 'SIGWINCH', 'SIGCONT'] as const;

/** Time within which a signal is a copy: npm forwards the signals of the terminal. */
const sameSignalMs = 500;

/**
 * Takes the signals over. Before there is a command, those that end a process are remembered; while it runs, all go to
 * it, but for those that it has from the terminal anyway; after it, they are held for a moment, in which this process
 * ends by itself.
 */
export function takeSignals(now: () => number): Signals {
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
    get ended() {
      return ended;
    },
    passTo(next) {
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
