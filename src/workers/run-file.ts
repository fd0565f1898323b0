import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join, parse } from 'node:path';
import { z } from 'zod';

/** What runs, for `sidekey status`: which process supervises, and which serve. */
export interface Running {
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
