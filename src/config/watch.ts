import { watch, type FSWatcher } from 'node:fs';
import { realpath, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { SidekeyError } from '../errors.ts';
import { configSources } from './sources.ts';

/** Whom to tell, and how patient to be. */
export interface WatchConfigOptions {
  /** The content is another than when it was last looked at. It says nothing of whether it is valid: load it. */
  readonly onChange: () => void;
  /** The file is gone, or the system cannot watch; what runs goes on, and the watch too. */
  readonly onError: (error: SidekeyError) => void;
  readonly signal?: AbortSignal | undefined;
  /** How long to wait for more events after one, in milliseconds: editors write in several steps. */
  readonly settleMs?: number | undefined;
  /** How often to look without an event, in milliseconds: network and container file systems lose some. */
  readonly safetyMs?: number | undefined;
}

/** A watch that runs. */
export interface ConfigWatch {
  /** Looks now; resolves when that is done and a change has been told. */
  check(): Promise<void>;
  /** Idempotent; after it nothing is told any more. */
  close(): void;
}

/**
 * Tells when the content of the config file, or of a provider definition beside it, changes: written in place, replaced
 * by rename (most editors), or swapped behind a symlink (a Kubernetes ConfigMap swaps the folder `..data`). So the
 * folders are watched, not the file, and contents are compared: a touch is no change.
 *
 * Resolves when it watches. Load the file after that, and no change in between is lost.
 */
export async function watchConfig(file: string, options: WatchConfigOptions): Promise<ConfigWatch> {
  const path = resolve(file);
  const definitions = join(dirname(path), 'providers');
  const folders = new Map<string, Folder>();
  let closed = false;
  let linked = true;
  let cannotWatchTold = false;
  let settling: NodeJS.Timeout | undefined;

  const onEvent = (name: string | null): void => {
    // A file in the same folder that is not ours, such as an audit file that grows, is not worth a look.
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
    // An editor that deletes and then writes leaves a gap; only a file that stays away is worth a word.
    missing = isThere ? 0 : missing + 1;
    // A close during the reading counts.
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
  return { check, close };
}

interface Folder {
  readonly watcher: FSWatcher;
  /** A folder that was made anew under the same name needs a new watcher. */
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
    hint: 'put the file back; it is taken over as soon as it is there',
  });
}

function cannotWatch(folder: string, cause: unknown): SidekeyError {
  return new SidekeyError(
    'internal',
    `The folder ${folder} cannot be watched; it is looked at now and then.`,
    {
      hint: 'raise the limit of the system (Linux: fs.inotify.max_user_watches), or send SIGHUP after a change',
      cause,
    },
  );
}
