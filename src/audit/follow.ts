/** Waits for more lines at the end of the log, across rotations. */
import fs from 'node:fs';
import path from 'node:path';
import { idOf, openSource, rotatedFiles, type LogSource, type RotatedFile } from './log-files.ts';
import type { LogReader } from './source.ts';

interface Followed {
  readonly id: string;
  readonly reader: LogReader;
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
      const reader = openSource(file, source);
      if (reader === undefined) continue;
      const at = Math.min(source.size, reader.size());
      followed.push({ id: source.id, reader, at, carry: Buffer.alloc(0) });
    }
    while (!ended()) {
      bell.reset();
      if (idAt(file) !== followed.at(-1)?.id) {
        for (const rotated of rotatedFiles(file)) {
          if (rotated.number <= newest) continue;
          follow(rotated);
          newest = rotated.number;
        }
        follow({ path: file, number: newest + 1, packed: false });
      }
      for (const each of followed) yield* readOn(each);
      for (const { reader } of followed.splice(0, followed.length - keptOpen)) reader.close();
      await bell.rung();
    }
  } finally {
    bell.stop();
    for (const { reader } of followed) reader.close();
  }

  /** Follows the file at this path from its beginning, unless it is followed already. */
  function follow(at: RotatedFile): void {
    const id = idAt(at.path);
    if (id === undefined || followed.some((each) => each.id === id)) return;
    const reader = openSource(file, { ...at, size: 0, id });
    if (reader !== undefined) followed.push({ id, reader, at: 0, carry: Buffer.alloc(0) });
  }
}

function idAt(at: string): string | undefined {
  return idOf(fs.statSync(at, { bigint: true, throwIfNoEntry: false }));
}

function* readOn(file: Followed): Generator<Buffer> {
  while (file.reader.size() > file.at) {
    const chunk = Buffer.allocUnsafe(65_536);
    const read = file.reader.readSync(chunk, file.at);
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
