import fs from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { isSystemError, SidekeyError, systemCode } from '../lib/errors.ts';
import { isPrivate, makeFolder } from '../lib/os.ts';
import { closeDatabase, openDatabase, sqliteCode } from '../lib/sqlite.ts';
import { shellWord } from '../lib/text.ts';

/**
 * The files of a log, oldest first: `<file>.000001`, `<file>.000002` …, and `<file>`, which grows. A
 * rotated file may be packed (`<file>.000001.gz`), and is never overwritten.
 */

/** A rotated file: no process writes to it. */
export interface RotatedFile {
  readonly path: string;
  /** Counts from 1 without a gap. */
  readonly number: number;
  readonly packed: boolean;
}

const packedSuffix = '.gz';

/** Returns the name of the `number`th rotated file; names sort in order. */
export function rotatedName(file: string, number: number): string {
  return `${file}.${String(number).padStart(6, '0')}`;
}

/** Returns the name of a rotated file after it is packed. */
export function packedName(file: string, number: number): string {
  return `${rotatedName(file, number)}${packedSuffix}`;
}

/** Returns the rotated files, oldest first. */
export function rotatedFiles(file: string): RotatedFile[] {
  const folder = path.dirname(file);
  const prefix = `${path.basename(file)}.`;
  let names: string[];
  try {
    names = fs.readdirSync(folder);
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return [];
    throw unreadable(folder, error);
  }
  const rotated = new Map<number, RotatedFile>();
  for (const name of names) {
    if (!name.startsWith(prefix)) continue;
    const [, digits, suffix] = /^(\d{6,12})(\.gz)?$/.exec(name.slice(prefix.length)) ?? [];
    if (digits === undefined) continue;
    const each = { path: path.join(folder, name), number: Number(digits), packed: suffix !== undefined };
    // After an interrupted packing both exist, and the plain one is complete.
    if (!each.packed || !rotated.has(each.number)) rotated.set(each.number, each);
  }
  return [...rotated.values()].toSorted((a, b) => a.number - b.number);
}

/** Returns the failure of a part of the log that this user cannot read. */
export function unreadable(at: string, cause: unknown): SidekeyError {
  return new SidekeyError(
    'audit_unavailable',
    `The audit log cannot be read: ${at} (${systemCode(cause)}).`,
    {
      hint: `make it readable for this user: chmod u+rw ${shellWord(at)} (or chown it), or run the command as its owner`,
      cause,
    },
  );
}

function irregular(at: string): SidekeyError {
  return new SidekeyError('audit_unavailable', `The audit log ${at} is not a regular file.`, {
    hint: 'Set audit.file in the config to the path of a file.',
  });
}

/** Returns the size of the log in bytes, rotated files included. */
export function logBytes(file: string): number {
  const paths = [...rotatedFiles(file).map((rotated) => rotated.path), file];
  return paths.reduce((sum, at) => sum + Number(statOf(at)?.size ?? 0), 0);
}

/** Returns the rotated file with this id, if there is one. */
export function rotatedAs(file: string, id: string): RotatedFile | undefined {
  return rotatedFiles(file).findLast((rotated) => fileIdAt(rotated.path) === id);
}

/** Identifies a file independently of its name; undefined if there is no file. */
export function fileId(stats: fs.BigIntStats | undefined): string | undefined {
  return stats === undefined ? undefined : `${stats.dev}:${stats.ino}`;
}

/** @throws SidekeyError `audit_unavailable` if the path cannot be followed */
function statOf(at: string): fs.BigIntStats | undefined {
  try {
    return fs.statSync(at, { bigint: true, throwIfNoEntry: false });
  } catch (error) {
    throw unreadable(at, error);
  }
}

export function fileIdAt(at: string): string | undefined {
  return fileId(fs.statSync(at, { bigint: true, throwIfNoEntry: false }));
}

/** A file of the log, and how much of it belongs to a snapshot. */
export interface LogSource {
  readonly path: string;
  /** Bytes of text; infinite for a packed file, which belongs to the snapshot as a whole. */
  readonly size: number;
  readonly id: string;
  /** The number of a rotated file; for the live file the number that it will have. */
  readonly number: number;
  readonly packed: boolean;
}

/**
 * Lists the files of the log, oldest first. Sizes are consistent while writers append and rotate: if a line
 * is included, so are all earlier lines of its chain. Sizes are read from the newest file to the oldest, and
 * a writer never returns to an older file.
 *
 * @throws SidekeyError `audit_unavailable` for a path that cannot be followed, or is no regular file
 */
export function snapshotLog(file: string): LogSource[] {
  const current = sourceAt({ path: file, number: 0, packed: false });
  const files = rotatedFiles(file);
  const rotated = files.toReversed().flatMap((each) => sourceAt(each) ?? packedSince(file, each) ?? []);
  // Between the two steps of a rotation, and after an interrupted one, a file has both names.
  const twice = current !== undefined && rotated.some(({ id }) => id === current.id);
  const next = (files.at(-1)?.number ?? 0) + 1;
  return [...rotated.toReversed(), ...(current === undefined || twice ? [] : [{ ...current, number: next }])];
}

function sourceAt({ path: at, number, packed }: RotatedFile): LogSource | undefined {
  const stats = statOf(at);
  if (stats === undefined) return undefined;
  // Opening a pipe would block until its other end opens.
  if (!stats.isFile()) throw irregular(at);
  return { path: at, size: packed ? Infinity : Number(stats.size), id: fileId(stats) ?? '', number, packed };
}

function packedSince(file: string, { number, packed }: RotatedFile): LogSource | undefined {
  return packed ? undefined : sourceAt({ path: packedName(file, number), number, packed: true });
}

/** Makes the name of a new file durable, if the file system can sync a folder. */
export function syncFolder(file: string): void {
  try {
    const fd = fs.openSync(path.dirname(file), 'r');
    try {
      fs.fsyncSync(fd);
    } finally {
      fs.closeSync(fd);
    }
  } catch {
    // EINVAL, EISDIR or EPERM: this file system or platform cannot do it.
  }
}

/**
 * Creates the folder of the log, and refuses one in which other users could replace files.
 * @throws SidekeyError `permissions_unsafe`, `file_unwritable`.
 */
export function prepareFolder(file: string): void {
  const folder = path.dirname(path.resolve(file));
  let stats: fs.Stats;
  try {
    makeFolder(folder, 0o700);
    stats = fs.statSync(folder);
  } catch (cause) {
    throw new SidekeyError('file_unwritable', `The folder of the audit log, ${folder}, cannot be made.`, {
      hint: 'Make that folder, or set audit.file in the config to a path in a folder of yours.',
      cause,
    });
  }
  if (!isOwn(stats)) {
    const sentence = `The folder of the audit log, ${folder}, belongs to another user.`;
    throw new SidekeyError('permissions_unsafe', sentence, {
      hint: 'Set audit.file in the config to a path in a folder of yours.',
    });
  }
  if (!isWindows && (stats.mode & 0o022) !== 0) {
    const sentence = `Other users may write to the folder of the audit log, ${folder}.`;
    throw new SidekeyError('permissions_unsafe', sentence, { hint: `chmod go-w ${shellWord(folder)}` });
  }
}

/**
 * Refuses a log file that other users may read or write.
 * @throws SidekeyError `permissions_unsafe`; `audit_unavailable` if it is no regular file.
 */
export function checkLogFile(file: string, stats: fs.Stats): void {
  if (!stats.isFile()) {
    throw irregular(file);
  }
  if (!isOwn(stats)) {
    throw new SidekeyError('permissions_unsafe', `The audit log ${file} belongs to another user.`, {
      hint: 'Set audit.file in the config to a path in a folder of yours.',
    });
  }
  if (!isPrivate(stats.mode)) {
    throw new SidekeyError('permissions_unsafe', `Other users may read or write the audit log ${file}.`, {
      hint: `chmod 600 ${shellWord(file)}`,
    });
  }
}

// Windows has neither modes nor user ids: access lists are inherited from the folder.
const isWindows = process.platform === 'win32';

/** Reports whether a file or folder belongs to this user or to the superuser. */
function isOwn(stats: fs.Stats): boolean {
  const uid = process.getuid?.();
  return uid === undefined || stats.uid === uid || stats.uid === 0;
}

/** Returns the free bytes on the disk of the log for this user; null if the system does not report them. */
export function freeBytes(file: string): number | null {
  try {
    const { bavail, bsize } = fs.statfsSync(path.dirname(file));
    return bavail * bsize;
  } catch {
    return null;
  }
}

/** The file system calls that fail on a full or broken disk; tests replace them. */
export interface DiskCalls {
  /** Appends; returns the number of bytes written, which may be less than given. */
  write(fd: number, bytes: Uint8Array): number;
  /** Overwrites bytes at a position; returns the number of bytes written. */
  writeAt(fd: number, bytes: Uint8Array, position: number): number;
  /** Makes written bytes durable. */
  sync(fd: number): Promise<void>;
}

export const disk: DiskCalls = {
  write: (fd, bytes) => fs.writeSync(fd, bytes),
  writeAt: (fd, bytes, position) => fs.writeSync(fd, bytes, 0, bytes.length, position),
  sync: promisify(fs.fdatasync),
};

/** A lock that this process holds. */
export interface FileLock extends Disposable {
  /** Reports whether the path still names the lock file; otherwise another process may hold a lock there. */
  held(): boolean;
  /** Releases the lock. The file remains: removing it would race with its next holder. */
  release(): void;
}

/**
 * Takes the lock at `path` (created 0600) without waiting; undefined if another holder has it. The lock is an
 * exclusive transaction on an empty SQLite database. The system releases it when the process dies, even by
 * kill -9, and SQLite also separates the connections of one process.
 *
 * Never open a lock file in another way: when a process closes any descriptor of a file, POSIX drops all its
 * locks on that file (sqlite.org/lockingv3.html, "How To Corrupt").
 * @throws if the file cannot be created or is no lock file.
 */
export function tryLockFile(path: string): FileLock | undefined {
  const db = openDatabase(path, { create: true, timeout: 0 });
  try {
    db.exec('pragma journal_mode = memory; pragma locking_mode = exclusive; begin exclusive');
    fs.chmodSync(path, 0o600);
    const id = fileIdAt(path);
    return {
      held: () => fileIdAt(path) === id,
      release: () => closeDatabase(db),
      [Symbol.dispose]: () => closeDatabase(db),
    };
  } catch (error) {
    closeDatabase(db);
    if (sqliteCode(error) === 'BUSY') return undefined;
    throw error;
  }
}
