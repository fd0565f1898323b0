import { mkdtempSync, opendirSync, rmdirSync, statfsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { DatabaseSync, type DatabaseSyncOptions, type SQLOutputValue } from 'node:sqlite';
import { isSystemError, type Obstacle, obstacleOf, obstacles } from './errors.ts';

/** A connection to a SQLite file. It blocks the thread. */
export type Database = DatabaseSync;

interface OpenOptions extends Pick<DatabaseSyncOptions, 'readOnly'> {
  /** Creates a missing file. */
  readonly create?: boolean;
  /** Milliseconds that a statement waits for the lock of another process. */
  readonly timeout: number;
}

/** Opens a SQLite file. @throws an error that `sqliteCode` recognizes */
export function openDatabase(
  path: string,
  { create = false, readOnly = false, timeout }: OpenOptions,
): Database {
  const url = pathToFileURL(path);
  // Only a URI can make a missing file an error (https://sqlite.org/c3ref/open.html).
  if (!create && !readOnly) url.searchParams.set('mode', 'rw');
  return new DatabaseSync(url, { readOnly, timeout });
}

/** Closes a connection. Idempotent. */
export function closeDatabase(database: Database): void {
  if (database.isOpen) database.close();
}

/** Runs a pragma. Returns its value. */
export function pragma(database: Database, text: string): SQLOutputValue | undefined {
  const row = database.prepare(`pragma ${text}`).get();
  return row === undefined ? undefined : Object.values(row)[0];
}

/** Runs `work` in a transaction that takes the write lock first. */
export function immediately<T>(database: Database, work: () => T): T {
  database.exec('begin immediate');
  try {
    const result = work();
    database.exec('commit');
    return result;
  } catch (error) {
    // SQLite itself rolls back after some errors (https://sqlite.org/lang_transaction.html).
    if (database.isTransaction) database.exec('rollback');
    throw error;
  }
}

/** The primary result codes that Sidekey distinguishes (https://sqlite.org/rescode.html). */
const primaryCodes = {
  1: 'ERROR',
  5: 'BUSY',
  6: 'LOCKED',
  7: 'NOMEM',
  8: 'READONLY',
  10: 'IOERR',
  11: 'CORRUPT',
  13: 'FULL',
  14: 'CANTOPEN',
  19: 'CONSTRAINT',
  24: 'FORMAT',
  26: 'NOTADB',
} as const;

/** A primary result code of SQLite without its prefix, such as `BUSY`. */
type SqliteCode = (typeof primaryCodes)[keyof typeof primaryCodes] | 'OTHER';

/** Returns the primary result code of a SQLite error, or null for any other error. */
export function sqliteCode(error: unknown): SqliteCode | null {
  const code = resultCode(error);
  if (code === null) return null;
  // The low byte is the primary code.
  return (primaryCodes as Readonly<Record<number, SqliteCode>>)[code & 0xff] ?? 'OTHER';
}

/** SQLITE_CONSTRAINT_PRIMARYKEY and SQLITE_CONSTRAINT_UNIQUE. */
const duplicates: readonly unknown[] = [1_555, 2_067];

/** Reports whether an error means that a row with this key exists. */
export function isDuplicate(error: unknown): boolean {
  return duplicates.includes(resultCode(error));
}

/** Returns the extended result code of a node:sqlite error, or null for any other error. */
function resultCode(error: unknown): number | null {
  if (!(error instanceof Error) || !('errcode' in error) || typeof error.errcode !== 'number') return null;
  return error.errcode;
}

/** Codes that SQLite returns for any refusal of the system; null: an error of the system itself. */
const systemRefused: ReadonlySet<SqliteCode | null> = new Set(['READONLY', 'IOERR', 'CANTOPEN', null]);

/**
 * Returns why the intact file at `path` cannot be used: from a SQLite or system error, and from the state of
 * its folder, because SQLite does not report the error of the system. Undefined for an unknown cause.
 */
export function sqliteObstacle(path: string, error: unknown): Obstacle | undefined {
  const code = sqliteCode(error);
  const certain = byExtendedCode[resultCode(error) ?? -1] ?? obstacleOf(error);
  if (certain !== undefined) return certain;
  const ofFolder = systemRefused.has(code) ? folderObstacle(dirname(path)) : undefined;
  return ofFolder ?? (code === null ? undefined : byCode[code]);
}

/** Less does not hold the shared memory of SQLite, which grows by 32 KiB. */
const minFreeBytes = 65_536;

/**
 * Returns why a folder takes no further file; undefined if it does. Creates an entry and removes it: after an
 * error of the disk, Linux refuses to write although the permissions and the mount allow it.
 */
function folderObstacle(folder: string): Obstacle | undefined {
  try {
    opendirSync(folder).closeSync();
    const { blocks, bavail, bsize, files, ffree } = statfsSync(folder);
    const isFull = (blocks > 0 && bavail * bsize < minFreeBytes) || (files > 0 && ffree === 0);
    if (isFull) return byCode.FULL;
    rmdirSync(mkdtempSync(join(folder, '.sidekey-')));
    return undefined;
  } catch (error) {
    if (isSystemError(error, 'EACCES', 'EPERM')) return noAccess;
    return isSystemError(error, 'ENOENT') ? gone : obstacleOf(error);
  }
}

const noAccess = {
  why: 'this user may not write there',
  hint: 'make the file and its folder writable for the user that runs Sidekey',
};
const gone = {
  why: 'its folder is gone',
  hint: 'mount its disk, or restore the folder, then start Sidekey again',
};
const locked = {
  why: 'another program has locked it',
  hint: 'end the program that keeps it locked, such as a backup, then try again: nothing was lost',
};
const noMemory = {
  why: 'there is not enough memory',
  hint: 'end other programs or raise the memory limit, then try again: nothing was lost',
};

const byCode: Readonly<Partial<Record<SqliteCode, Obstacle>>> = {
  BUSY: locked,
  LOCKED: locked,
  FULL: { why: obstacles.ENOSPC.why, hint: `${obstacles.ENOSPC.hint}: nothing was lost` },
  NOMEM: noMemory,
  READONLY: { why: 'it is read-only', hint: noAccess.hint },
  CANTOPEN: { why: 'the file cannot be opened', hint: noAccess.hint },
  IOERR: obstacles.EIO,
};

const byExtendedCode: Readonly<Partial<Record<number, Obstacle>>> = {
  // SQLITE_READONLY_DBMOVED
  1_032: {
    why: 'the file was moved or replaced while it was open',
    hint: 'move it back if that was not meant, then start Sidekey again',
  },
  // SQLITE_IOERR_NOMEM
  3_082: noMemory,
};
