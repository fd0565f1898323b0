/**
 * The files of one log, in the order in which they were written: `<file>.000001`, `<file>.000002` … and `<file>`, to
 * which lines are appended. A rotated file may be packed (`<file>.000001.gz`), and is never overwritten.
 */
import fs from 'node:fs';
import path from 'node:path';
import { SidekeyError } from '../errors.ts';
import { isPrivate } from '../private-file.ts';
import { shellWord } from '../shell-word.ts';
import { packedReader, plainReader, type LogReader } from './source.ts';

/** Tells one file from another, whatever it is called. Undefined for no file. */
export function idOf(stats: fs.BigIntStats | undefined): string | undefined {
  return stats === undefined ? undefined : `${stats.dev}:${stats.ino}`;
}

/** The name of the `number`th rotated file; names sort in order. */
export function rotatedName(file: string, number: number): string {
  return `${file}.${String(number).padStart(6, '0')}`;
}

/** A file that is written to no more. */
export interface RotatedFile {
  readonly path: string;
  /** Counts from 1 without a gap. */
  readonly number: number;
  readonly packed: boolean;
}

const packedSuffix = '.gz';

/** The name of a rotated file once it is packed. */
export function packedName(file: string, number: number): string {
  return `${rotatedName(file, number)}${packedSuffix}`;
}

/** The rotated files, oldest first. */
export function rotatedFiles(file: string): RotatedFile[] {
  const folder = path.dirname(file);
  const prefix = `${path.basename(file)}.`;
  let names: string[];
  try {
    names = fs.readdirSync(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
  const found = new Map<number, RotatedFile>();
  for (const name of names) {
    if (!name.startsWith(prefix)) continue;
    const [, digits, suffix] = /^(\d{6,12})(\.gz)?$/.exec(name.slice(prefix.length)) ?? [];
    if (digits === undefined) continue;
    const each = { path: path.join(folder, name), number: Number(digits), packed: suffix !== undefined };
    // Where packing was interrupted both are there, and the plain one is whole.
    if (!each.packed || !found.has(each.number)) found.set(each.number, each);
  }
  return [...found.values()].toSorted((a, b) => a.number - b.number);
}

/** The rotated file that is the one with this id; undefined where none is. Looks at the newest first. */
export function rotatedAs(file: string, id: string): RotatedFile | undefined {
  return rotatedFiles(file).findLast(
    (rotated) => idOf(fs.statSync(rotated.path, { bigint: true, throwIfNoEntry: false })) === id,
  );
}

/** A file of the log and how much of it belongs to a snapshot. */
export interface LogSource {
  readonly path: string;
  /** Bytes of text; for a packed file infinite: all of it. */
  readonly size: number;
  readonly id: string;
  /** The number of a rotated file; of the one that is appended to, the number that it will have. */
  readonly number: number;
  readonly packed: boolean;
}

/**
 * The files of the log, oldest first, with sizes such that whatever line is within them, every earlier line of its chain
 * is too, even while writers append and rotate: sizes are taken from the newest file to the oldest, and a writer never
 * goes back to an older file.
 */
export function snapshot(file: string): LogSource[] {
  const current = sourceAt({ path: file, number: 0, packed: false });
  const files = rotatedFiles(file);
  const rotated = files.toReversed().flatMap((each) => sourceAt(each) ?? packedSince(file, each) ?? []);
  // Between the two steps of a rotation (and for good, where it was interrupted) a file has both names.
  const twice = current !== undefined && rotated.some(({ id }) => id === current.id);
  const next = (files.at(-1)?.number ?? 0) + 1;
  return [...rotated.toReversed(), ...(current === undefined || twice ? [] : [{ ...current, number: next }])];
}

function sourceAt({ path: at, number, packed }: RotatedFile): LogSource | undefined {
  const stats = fs.statSync(at, { bigint: true, throwIfNoEntry: false });
  // To open a pipe would wait for its other end, for ever.
  if (stats === undefined || !stats.isFile()) return undefined;
  return { path: at, size: packed ? Infinity : Number(stats.size), id: idOf(stats) ?? '', number, packed };
}

function packedSince(file: string, { number, packed }: RotatedFile): LogSource | undefined {
  return packed ? undefined : sourceAt({ path: packedName(file, number), number, packed: true });
}

/**
 * Opens a source for reading, also where it was rotated or packed since; undefined where it is gone.
 * @param file The path of the log.
 */
export function openSource(file: string, source: LogSource): LogReader | undefined {
  // By its number and not by its id alone: the id of a file that is gone may be another's by now.
  const fd = openAs(source.path, source.id) ?? openAs(rotatedName(file, source.number), source.id);
  if (fd !== undefined) return source.packed ? packedReader(fd) : plainReader(fd);
  if (source.packed) return undefined;
  const packed = openAs(packedName(file, source.number));
  return packed === undefined ? undefined : packedReader(packed);
}

/** Undefined where there is no such file, or another than the one with this id. */
function openAs(at: string, id?: string): number | undefined {
  let fd: number;
  try {
    fd = fs.openSync(at, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  if (id === undefined || idOf(fs.fstatSync(fd, { bigint: true })) === id) return fd;
  fs.closeSync(fd);
  return undefined;
}

/** Makes the name of a new file durable. Best effort: some file systems cannot sync a folder, and need not. */
export function syncFolder(file: string): void {
  try {
    const fd = fs.openSync(path.dirname(file), 'r');
    try {
      fs.fsyncSync(fd);
    } finally {
      fs.closeSync(fd);
    }
  } catch {
    // EINVAL, EISDIR or EPERM: not a file system or platform where this can be done.
  }
}

/**
 * Makes the folder of the log where it does not exist, and refuses one in which others could put files in its place.
 * @throws SidekeyError `permissions_unsafe`, `file_unwritable`.
 */
export function prepareFolder(file: string): void {
  const folder = path.dirname(path.resolve(file));
  let stats: fs.Stats;
  try {
    fs.mkdirSync(folder, { recursive: true, mode: 0o700 });
    stats = fs.statSync(folder);
  } catch (cause) {
    throw new SidekeyError('file_unwritable', `The folder of the audit log, ${folder}, cannot be made.`, {
      hint: 'Make that folder, or set audit.file in the config to a path in a folder of yours.',
      cause,
    });
  }
  if (!ours(stats)) {
    throw new SidekeyError(
      'permissions_unsafe',
      `The folder of the audit log, ${folder}, belongs to another user.`,
      {
        hint: 'Set audit.file in the config to a path in a folder of yours.',
      },
    );
  }
  if (!isWindows && (stats.mode & 0o022) !== 0) {
    throw new SidekeyError(
      'permissions_unsafe',
      `Other users may write to the folder of the audit log, ${folder}.`,
      {
        hint: `chmod go-w ${shellWord(folder)}`,
      },
    );
  }
}

/**
 * Refuses a log file that others may read or write.
 * @throws SidekeyError `permissions_unsafe`; `file_unwritable` where it is no regular file.
 */
export function checkLogFile(file: string, stats: fs.Stats): void {
  if (!stats.isFile()) {
    throw new SidekeyError('file_unwritable', `The audit log ${file} is not a regular file.`, {
      hint: 'Set audit.file in the config to the path of a file.',
    });
  }
  if (!ours(stats)) {
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

// Windows has no modes and no user ids: its access lists are inherited from the folder.
const isWindows = process.platform === 'win32';

/** Whether a file or folder is this user's, or the superuser's, who may do anything anyway. */
function ours(stats: fs.Stats): boolean {
  const uid = process.getuid?.();
  return uid === undefined || stats.uid === uid || stats.uid === 0;
}
