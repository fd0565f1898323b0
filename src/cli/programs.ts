import { execFile, type ExecFileOptions, spawn, type SpawnOptions } from 'node:child_process';
import { once } from 'node:events';
import { exitCode } from '../lib/failures.ts';

/** Program and arguments. */
export type Call = readonly [program: string, ...words: string[]];

/** Result of a program. */
export interface Ended {
  /** Exit code; 1 if a signal or the time-out ended it. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program, and returns its output; null if it is not installed. */
export function runProgram([program, ...words]: Call, options: ExecFileOptions): Promise<Ended | null> {
  return new Promise((resolve) => {
    execFile(program, words, { ...options, encoding: 'utf8' }, (error, stdout, stderr) => {
      if (error?.code === 'ENOENT') resolve(null);
      else resolve({ code: typeof error?.code === 'number' ? error.code : error ? 1 : 0, stdout, stderr });
    });
  });
}

/** Runs a program whose output the user sees, and returns its exit code. */
export async function showProgram([program, ...words]: Call, options: SpawnOptions): Promise<number> {
  const [code] = (await once(spawn(program, words, options), 'close')) as [number | null];
  return code ?? exitCode.failure;
}
