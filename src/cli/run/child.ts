import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { constants } from 'node:os';
import { delimiter, join } from 'node:path';
import { SidekeyError } from '../../errors.ts';
import { systemCode } from '../../system-error.ts';
import { stopWith } from './job-control.ts';
import type { Signals } from './signals.ts';

/** How a command ended. */
export type ChildEnd =
  | { readonly kind: 'exit'; readonly code: number }
  | { readonly kind: 'signal'; readonly signal: NodeJS.Signals }
  /** It did not begin: exit codes as of env(1) and of shells. */
  | { readonly kind: 'failed'; readonly code: 126 | 127; readonly error: SidekeyError };

/** What runs. */
export interface Command {
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
    hint: code === 'EACCES' ? 'it is no file that may be executed: chmod +x makes it one' : undefined,
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
 * Ends this process as the command ended, so that whoever waits for it sees the same: by its signal, or where that would
 * write this process's memory to disk, by the exit code that shells have for it. Answers that code where the signal does
 * not end it.
 */
export function endAs(signal: NodeJS.Signals): number {
  if (!dumping.has(signal)) {
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
  }
  return 128 + constants.signals[signal];
}
