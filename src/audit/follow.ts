import fs from 'node:fs';
import path from 'node:path';
import { fileIdAt, type LogSource, type RotatedFile, rotatedFiles } from './log-files.ts';
import { type LogReader, openSource } from './reader.ts';

interface Followed {
  readonly id: string;
  readonly reader: LogReader;
  at: number;
  /** A line without its newline so far. */
  carry: Buffer;
}

/** Files that stay open after their rotation: a writer may complete a batch in one. */
export const maxOpenFiles = 3;
/** Milliseconds between checks, for file systems that report no changes. */
const checkEvery = 1_000;

/** Yields lines (without newline) appended after the `sources`, across rotations, until `signal` aborts. */
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
    for (const source of sources.slice(-maxOpenFiles)) {
      const reader = openSource(file, source);
      if (reader === undefined) continue;
      const at = Math.min(source.size, reader.size());
      followed.push({ id: source.id, reader, at, carry: Buffer.alloc(0) });
    }
    while (!ended()) {
      bell.reset();
      if (fileIdAt(file) !== followed.at(-1)?.id) {
        for (const rotated of rotatedFiles(file)) {
          if (rotated.number <= newest) continue;
          follow(rotated);
          newest = rotated.number;
        }
        follow({ path: file, number: newest + 1, packed: false });
      }
      for (const each of followed) yield* readAppended(each);
      for (const { reader } of followed.splice(0, followed.length - maxOpenFiles)) reader.close();
      await bell.rung();
    }
  } finally {
    bell.stop();
    for (const { reader } of followed) reader.close();
  }

  /** Follows the file at this path from its beginning. */
  function follow(at: RotatedFile): void {
    const id = fileIdAt(at.path);
    if (id === undefined || followed.some((each) => each.id === id)) return;
    const reader = openSource(file, { ...at, size: 0, id });
    if (reader !== undefined) followed.push({ id, reader, at: 0, carry: Buffer.alloc(0) });
  }
}

function* readAppended(file: Followed): Generator<Buffer> {
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

/** Creates a signal for changes in the folder. It also fires once a second, and when `signal` aborts. */
function startBell(folder: string, signal: AbortSignal | undefined) {
  let rang = false;
  let wake: (() => void) | undefined;
  const ring = () => {
    rang = true;
    wake?.();
  };
  const timer = setInterval(ring, checkEvery);
  let watcher: fs.FSWatcher | undefined;
  try {
    watcher = fs.watch(folder, ring).on('error', () => watcher?.close());
  } catch {
    // The folder is missing, or the system has no more watches. The timer is sufficient.
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
