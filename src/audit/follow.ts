/** Waits for more lines at the end of the log, across rotations. */
import fs from 'node:fs';
import path from 'node:path';
import { idOf, openSource, rotatedFiles, type LogSource } from './log-files.ts';

interface Followed {
  readonly id: string;
  readonly fd: number;
  at: number;
  /** A line whose newline has not come yet. */
  carry: Buffer;
}

/** Files kept open after their rotation: a writer may finish a batch in one. */
export const keptOpen = 3;
/** Milliseconds between looks, for file systems that do not tell of changes. */
const lookEvery = 1_000;

/**
 * The lines (bytes without newline) that are appended after the `sources`, as they come, until `signal` aborts.
 * Sleeps on the file system's notices, and looks once a second.
 */
export async function* followLines(
  file: string,
  sources: readonly LogSource[],
  signal: AbortSignal | undefined,
): AsyncGenerator<Buffer> {
  const followed: Followed[] = [];
  const paths = new Set(sources.map((source) => source.path));
  let newest = rotatedFiles(file).findLast((rotated) => paths.has(rotated.path))?.number ?? 0;
  const ended = () => signal?.aborted === true;
  const bell = startBell(path.dirname(file), signal);
  try {
    for (const source of sources.slice(-keptOpen)) {
      const fd = openSource(file, source);
      if (fd !== undefined) followed.push({ id: source.id, fd, at: source.size, carry: Buffer.alloc(0) });
    }
    while (!ended()) {
      bell.reset();
      if (idAt(file) !== followed.at(-1)?.id) {
        for (const rotated of rotatedFiles(file)) {
          if (rotated.number <= newest) continue;
          follow(rotated.path);
          newest = rotated.number;
        }
        follow(file);
      }
      for (const each of followed) yield* readOn(each);
      for (const { fd } of followed.splice(0, followed.length - keptOpen)) fs.closeSync(fd);
      await bell.rung();
    }
  } finally {
    bell.stop();
    for (const { fd } of followed) fs.closeSync(fd);
  }

  /** Follows the file at this path from its beginning, unless it is followed already. */
  function follow(at: string): void {
    const id = idAt(at);
    if (id === undefined || followed.some((each) => each.id === id)) return;
    const fd = openSource(file, { path: at, size: 0, id });
    if (fd !== undefined) followed.push({ id, fd, at: 0, carry: Buffer.alloc(0) });
  }
}

function idAt(at: string): string | undefined {
  return idOf(fs.statSync(at, { bigint: true, throwIfNoEntry: false }));
}

function* readOn(file: Followed): Generator<Buffer> {
  while (fs.fstatSync(file.fd).size > file.at) {
    const chunk = Buffer.allocUnsafe(65_536);
    const read = fs.readSync(file.fd, chunk, 0, chunk.length, file.at);
    if (read === 0) return;
    file.at += read;
    const text = Buffer.concat([file.carry, chunk.subarray(0, read)]);
    let from = 0;
    for (let to = text.indexOf(0x0a); to !== -1; to = text.indexOf(0x0a, from)) {
      yield text.subarray(from, to);
      from = to + 1;
    }
    file.carry = text.subarray(from);
  }
}

/** Rings when something in the folder changes, once a second, and when `signal` aborts. */
function startBell(folder: string, signal: AbortSignal | undefined) {
  let rang = false;
  let wake: (() => void) | undefined;
  const ring = () => {
    rang = true;
    wake?.();
  };
  const timer = setInterval(ring, lookEvery);
  let watcher: fs.FSWatcher | undefined;
  try {
    watcher = fs.watch(folder, ring).on('error', () => watcher?.close());
  } catch {
    // No notices here (no such folder yet, or no more watches to be had): the timer is enough.
  }
  signal?.addEventListener('abort', ring, { once: true });
  return {
    reset() {
      rang = false;
    },
    async rung() {
      if (!rang) await new Promise<void>((resolve) => (wake = resolve));
      wake = undefined;
    },
    stop() {
      clearInterval(timer);
      watcher?.close();
      signal?.removeEventListener('abort', ring);
    },
  };
}
