/** System calls of a process, counted by strace. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Calls by name. */
export type SystemCalls = ReadonlyMap<string, number>;

/**
 * Counts the system calls of all threads of a process while `work` runs.
 * @throws Error where strace may not attach to the process
 */
export async function countSystemCalls<Result>(
  pid: number,
  work: () => Promise<Result>,
): Promise<{ readonly result: Result; readonly calls: SystemCalls }> {
  const folder = await mkdtemp(join(tmpdir(), 'sidekey-strace-'));
  const file = join(folder, 'counts');
  // -f: all threads.
  const child = spawn('strace', ['-c', '-f', '-o', file, '-p', String(pid)], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, LC_ALL: 'C' },
  });
  const ended = once(child, 'exit');
  try {
    await attached(child.stderr, ended);
    const result = await work();
    // It detaches, writes its table and ends by the signal.
    child.kill('SIGINT');
    const timer = setTimeout(() => child.kill('SIGKILL'), 10_000);
    await ended;
    clearTimeout(timer);
    return { result, calls: countsOf(await readFile(file, 'utf8')) };
  } finally {
    // The process that it traced goes on without it.
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
    await ended.catch(() => {});
    await rm(folder, { recursive: true, force: true });
  }
}

async function attached(stderr: NodeJS.ReadableStream, ended: Promise<unknown>): Promise<void> {
  let text = '';
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('strace does not attach')), 10_000);
    const settle = (error: Error | null) => {
      clearTimeout(timer);
      if (error === null) resolve();
      else reject(error);
    };
    stderr.on('data', (chunk: Buffer) => {
      text += chunk.toString();
      if (/attached/.test(text)) settle(null);
    });
    void ended.then(
      () => settle(new Error(text.trim().split('\n').at(-1) ?? 'strace ended')),
      (error: unknown) => settle(error instanceof Error ? error : new Error(String(error))),
    );
  });
}

/** The table of `strace -c`: % time, seconds, usecs/call, calls, errors (may be empty), name. */
export function countsOf(text: string): SystemCalls {
  const counts = new Map<string, number>();
  for (const line of text.split('\n')) {
    const found = /^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?([a-z_]\w*)$/.exec(line);
    if (found !== null && found[2] !== 'total') counts.set(found[2]!, Number(found[1]));
  }
  return counts;
}
