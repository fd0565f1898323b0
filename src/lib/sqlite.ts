import { pathToFileURL } from 'node:url';
import { DatabaseSync, type DatabaseSyncOptions, type SQLOutputValue } from 'node:sqlite';

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
export type SqliteCode = (typeof primaryCodes)[keyof typeof primaryCodes] | 'OTHER';

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
export function resultCode(error: unknown): number | null {
  if (!(error instanceof Error) || !('errcode' in error) || typeof error.errcode !== 'number') return null;
  return error.errcode;
}
