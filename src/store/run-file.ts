import { readFileSync, renameSync, unlinkSync, writeFileSync } from 'node:fs';
import { join, parse } from 'node:path';
import { z } from 'zod';
import { isRunning } from '../lib/os.ts';

/** Process ids of a supervisor and its workers, for `sidekey status`. */
interface Running {
  readonly pid: number;
  readonly workers: readonly number[];
}

const shape = z.object({ pid: z.int().min(1), workers: z.array(z.int().min(1)) });

/** Returns the path of a port's run file: several proxies may share the store at `storePath`. */
export function runFileOf(storePath: string, port: number): string {
  const { dir, name } = parse(storePath);
  return join(dir, `${name}-workers-${port}.json`);
}

export function writeRunning(file: string, running: Running): void {
  writeFileSync(`${file}.new`, `${JSON.stringify(running)}\n`, { mode: 0o600 });
  renameSync(`${file}.new`, file);
}

/** Reads the run file; null if its supervisor does not run. */
export function readRunning(file: string): Running | null {
  try {
    const { pid, workers } = shape.parse(JSON.parse(readFileSync(file, 'utf8')));
    return isRunning(pid) ? { pid, workers: workers.filter(isRunning) } : null;
  } catch {
    return null;
  }
}

/** Removes the run file. One that stays, as on a read-only disk, is ignored once its supervisor has ended. */
export function removeRunning(file: string): void {
  try {
    unlinkSync(file);
  } catch {
    // See above.
  }
}
