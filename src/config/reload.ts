import { createHash } from 'node:crypto';
import {
  type BigIntStats,
  closeSync,
  constants,
  fstatSync,
  type FSWatcher,
  openSync,
  readdirSync,
  readSync,
  statSync,
  watch,
} from 'node:fs';
import { realpath, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { isSystemError, SidekeyError, systemCode } from '../lib/errors.ts';
import { exposureOf } from '../lib/exposed.ts';
import { createCheckPace } from '../lib/timers.ts';
import { maxConfigBytes } from './document.ts';

/**
 * Follows a config file from its current content. Its edits take effect at once.
 *
 * @param load loads the file and applies valid content; never rejects. Only one call runs at a time, so that
 * older content never replaces newer content.
 */
export function followConfig(
  file: string,
  load: () => Promise<void>,
  isDue: () => boolean = createCheckPace(),
) {
  const sources = configSources(file);
  let loading: Promise<void> | null = null;

  function begin(): void {
    sources.take();
    loading = load().finally(() => {
      sources.loaded();
      loading = null;
    });
  }

  /** A load in progress may have read the file before this call, so a later one is awaited. */
  async function loadAfterNow(isNeeded: () => boolean): Promise<void> {
    await loading;
    if (loading === null && isNeeded()) begin();
    await loading;
  }

  const check = (): Promise<void> => loadAfterNow(() => sources.differ());
  return {
    /**
     * Called for each request. Returns null if the file has not changed since the last load; else resolves
     * when the content at the time of this call, or later content, is loaded. One load serves all callers.
     * Invalid content is loaded once. Under load the file is checked every 5 ms (`createCheckPace`).
     */
    newest: () => (loading === null && !(isDue() && sources.differ()) ? null : check()),
    /** Checks the file now, and resolves when changed content is loaded. */
    check,
    /** Loads the file even if it has not changed. */
    reload: () => loadAfterNow(() => true),
    /** Resolves when no load is in progress. */
    async idle(): Promise<void> {
      await loading;
    },
  };
}

interface WatchConfigOptions {
  /** Called if the content has changed; it may be invalid. */
  readonly onChange: () => void;
  /** Called if the file is missing or cannot be watched; the watch continues. */
  readonly onError: (error: SidekeyError) => void;
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds to wait for further events after one: editors write in several steps. */
  readonly settleMs?: number | undefined;
  /** Milliseconds between checks without an event: network and container file systems lose some. */
  readonly safetyMs?: number | undefined;
}

export type ConfigWatch = Awaited<ReturnType<typeof watchConfig>>;

/**
 * Reports each change of the content of the config file or of a provider definition beside it. Detects writes
 * in place, replacement by rename (most editors), and swapped symlinks (a Kubernetes ConfigMap swaps the
 * folder `..data`): it watches folders, not files. A new modification time alone is no change.
 *
 * Resolves when the watch is active. A caller that loads the file after that misses no change.
 */
export async function watchConfig(file: string, options: WatchConfigOptions) {
  const path = resolve(file);
  const definitions = join(dirname(path), 'providers');
  const folders = new Map<string, Folder>();
  let closed = false;
  let linked = true;
  let cannotWatchTold = false;
  let settling: NodeJS.Timeout | undefined;

  const onEvent = (name: string | null): void => {
    // Events of other files in the folder, such as an audit file, are ignored.
    const isOurs = name === null || linked || name === basename(path) || name === basename(definitions);
    if (closed || !isOurs) return;
    clearTimeout(settling);
    settling = setTimeout(() => void check(), options.settleMs ?? 30).unref();
  };
  const arm = async (): Promise<void> => {
    const real = await realpath(path).catch(() => path);
    linked = real !== path;
    const wanted = new Set([dirname(path), dirname(real), definitions]);
    for (const [folder, { watcher, inode }] of folders) {
      if (wanted.has(folder) && (await inodeOf(folder)) === inode) continue;
      watcher.close();
      folders.delete(folder);
    }
    for (const folder of wanted) {
      const inode = await inodeOf(folder);
      if (closed || inode === null || folders.has(folder)) continue;
      try {
        const watcher = watch(folder, { persistent: false }, (_, name) =>
          onEvent(folder === definitions ? null : name),
        );
        watcher.on('error', () => {
          watcher.close();
          folders.delete(folder);
        });
        folders.set(folder, { watcher, inode });
      } catch (cause) {
        if (!cannotWatchTold) options.onError(cannotWatch(folder, cause));
        cannotWatchTold = true;
      }
    }
  };

  await arm();
  const sources = configSources(path);
  let missing = 0;
  const look = async (): Promise<void> => {
    if (closed) return;
    await arm();
    const isThere = (await inodeOf(path)) !== null;
    // Some editors delete the file before they write it: only a longer absence is reported.
    missing = isThere ? 0 : missing + 1;
    // The watch may have been closed during the read.
    if (isClosed()) return;
    if (missing === 2) options.onError(gone(path));
    if (!sources.differ()) return;
    sources.take();
    options.onChange();
  };
  const isClosed = (): boolean => closed;
  let last: Promise<void> = Promise.resolve();
  const check = (): Promise<void> => (last = last.then(look, look));
  const safety = setInterval(() => void check(), options.safetyMs ?? 5_000).unref();
  const close = (): void => {
    closed = true;
    clearTimeout(settling);
    clearInterval(safety);
    for (const { watcher } of folders.values()) watcher.close();
    folders.clear();
  };
  options.signal?.addEventListener('abort', close, { once: true });
  if (options.signal?.aborted) close();
  return {
    /** Checks now; resolves after a change was reported. */
    check,
    /** Ends the watch. Idempotent. */
    close,
  };
}

interface Folder {
  readonly watcher: FSWatcher;
  /** A recreated folder of the same name needs a new watcher. */
  readonly inode: bigint;
}

async function inodeOf(folder: string): Promise<bigint | null> {
  return stat(folder, { bigint: true }).then(
    ({ ino }) => ino,
    () => null,
  );
}

function gone(path: string): SidekeyError {
  return new SidekeyError('config_missing', `The config file ${path} is gone; the last one stays in force.`, {
    hint: 'restore the file; Sidekey loads it at once',
  });
}

function cannotWatch(folder: string, cause: unknown): SidekeyError {
  return new SidekeyError(
    'internal',
    `The folder ${folder} cannot be watched; Sidekey checks it from time to time.`,
    {
      hint: isSystemError(cause, 'ENOSPC', 'EMFILE')
        ? 'raise the limit of the system (Linux: fs.inotify.max_user_watches), or send SIGHUP after a change'
        : `let the user of Sidekey read ${folder}, or send SIGHUP after a change`,
      cause,
    },
  );
}

/** Content and metadata of one open file. */
interface FileContent {
  /** At most one byte more than requested, which indicates a longer file. */
  readonly bytes: Buffer;
  /** Mode as in `stat`. */
  readonly mode: number;
}

/**
 * Reads a small file synchronously. Returns null if it is not a regular file, because reading a pipe or a
 * device might block or never end.
 *
 * @param most maximum number of bytes, see `FileContent.bytes`
 * @throws the error of the system if the file cannot be opened or read
 */
export function readRegularFile(path: string, most: number): FileContent | null {
  // Non-blocking: opening a FIFO would wait for a writer.
  const file = openSync(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
  try {
    // Uses the open file, so that it cannot be replaced in between.
    const stat = fstatSync(file);
    if (!stat.isFile()) return null;
    let buffer = Buffer.alloc(Math.min(stat.size, most) + 1);
    let length = 0;
    for (;;) {
      const count = readSync(file, buffer, length, buffer.length - length, null);
      length += count;
      if (count === 0 || length > most) break;
      // The file has grown, or its file system reports no sizes.
      if (length === buffer.length) buffer = Buffer.concat([buffer], most + 1);
    }
    return { bytes: buffer.subarray(0, length), mode: stat.mode };
  } finally {
    closeSync(file);
  }
}

/**
 * Milliseconds after a change during which contents are compared instead of times: a second change within one
 * tick of the file system's clock keeps the times. The coarsest clocks tick every two seconds (FAT).
 */
const tickMs = 2_000;

interface Taken {
  readonly paths: readonly string[];
  readonly stamps: readonly (BigIntStats | undefined)[];
  /** Hash of all contents, and of how other users can change them; null: there is no config file. */
  readonly digest: string | null;
  /** True if any later change changes the stamps. */
  readonly settled: boolean;
}

/**
 * Takes the current state of the files of a config: the config file, and the user's provider definitions.
 * Never throws: an unreadable file has its error as content.
 *
 * @param stampOf returns the metadata of a path; undefined if it is missing or unreachable
 */
export function configSources(file: string, stampOf = statOf) {
  const folder = join(dirname(file), 'providers');
  let taken: Taken | null = read();

  function read(): Taken {
    const now = Date.now();
    // Stamps are read first, so that a change during the read changes them.
    const inFolder = stampOf(folder)?.isDirectory() === true ? namesIn(folder) : [];
    const paths = [file, folder, ...inFolder.map((name) => join(folder, name))];
    const stamps = paths.map(stampOf);
    const entries = paths.map((path, index) => saidBy(path, stamps[index]));
    const exposures = paths.flatMap((path, index) => (stamps[index] && exposureOf(path)?.message) ?? []);
    return {
      paths,
      stamps,
      digest: stamps[0] === undefined ? null : digestOf([...paths, ...entries, ...exposures]),
      // The stamps do not show that the folder of an exposed file was closed to others.
      settled:
        exposures.length === 0 &&
        stamps.every((stamp) => stamp === undefined || now - Number(stamp.ctimeMs) > tickMs),
    };
  }

  /** Reports whether all metadata is unchanged. */
  function isUntouched({ paths, stamps }: Taken): boolean {
    for (let i = 0; i < paths.length; i += 1) if (!isSame(stampOf(paths[i]!), stamps[i])) return false;
    return true;
  }

  return {
    /**
     * Reports whether the content differs from the last taken state; false while the config file is missing.
     * Costs a `stat` (about 1.5 µs) of the file, the folder, and each definition in it. Reads files only
     * after a change. Synchronous, so that nothing can happen between the check and its consequence.
     */
    differ(): boolean {
      if (taken?.settled === true && isUntouched(taken)) return false;
      const current = read();
      if (current.digest === null) return false;
      if (current.digest !== taken?.digest) return true;
      taken = current;
      return false;
    },
    /** Stores the current content as the reference of `differ`. Called before a load. */
    take(): void {
      taken = read();
    },
    /** Called after a load. If a file changed during the load, the next call of `differ` returns true. */
    loaded(): void {
      if (taken !== null && !isUntouched(taken)) taken = null;
    },
  };
}

const noThrow = { bigint: true, throwIfNoEntry: false } as const;

function statOf(path: string): BigIntStats | undefined {
  try {
    return statSync(path, noThrow);
  } catch {
    return undefined;
  }
}

function isSame(a: BigIntStats | undefined, b: BigIntStats | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return (
    a.ctimeNs === b.ctimeNs &&
    a.mtimeNs === b.mtimeNs &&
    a.ino === b.ino &&
    a.dev === b.dev &&
    a.size === b.size
  );
}

function namesIn(folder: string): readonly string[] {
  try {
    return readdirSync(folder).toSorted();
  } catch {
    return [];
  }
}

/** Returns the text of a path, or the error. */
function saidBy(path: string, stamp: BigIntStats | undefined): string {
  if (stamp === undefined) return 'missing';
  const { size, mtimeNs } = stamp;
  if (stamp.isDirectory()) return 'folder';
  if (!stamp.isFile()) return 'no file';
  if (size > maxConfigBytes) return `too large: ${size}, ${mtimeNs}`;
  try {
    return readRegularFile(path, maxConfigBytes)?.bytes.toString('latin1') ?? 'no file';
  } catch (cause) {
    return `unreadable: ${systemCode(cause)}`;
  }
}

function digestOf(parts: readonly string[]): string {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(`${part.length}:`).update(part);
  return hash.digest('hex');
}
