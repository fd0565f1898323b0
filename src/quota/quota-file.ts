import { randomBytes } from 'node:crypto';
import { closeSync, linkSync, mkdirSync, openSync, rmSync, statSync, type BigIntStats } from 'node:fs';
import { basename, dirname, join, parse } from 'node:path';
import Database from 'better-sqlite3';
import { SidekeyError } from '../errors.ts';
import { isPrivate } from '../private-file.ts';
import { shellWord } from '../shell-word.ts';
import { isSystemError } from '../system-error.ts';

/** "SKQU" in the header of the database: it is ours. */
const applicationId = 0x53_4b_51_55;

/** Version of the table below; another one is another file's. */
const tableVersion = 1;

/** The file that the processes of a machine count in, beside the store at `storePath`: `sidekey.db` → `sidekey-quota.db`. */
export function quotaFileOf(storePath: string): string {
  const { dir, name, ext } = parse(storePath);
  return join(dir, `${name}-quota${ext}`);
}

/** An open file of counts. */
export interface QuotaFile {
  readonly database: Database.Database;
  /** Whether the file is still the one at its path. If not, other processes count elsewhere. */
  isInPlace(): boolean;
}

/**
 * Opens the file of counts at `path`, and makes it (0600) where there is none. Like all of this room it works
 * synchronously: a count is taken in microseconds, and nothing may come between.
 * @param busyTimeoutMs how long a statement waits for another process's write, while it blocks the thread
 * @throws what SQLite or the system throws; SidekeyError `store_unavailable` where others may use it
 */
export function openQuotaFile(path: string, busyTimeoutMs: number): QuotaFile {
  if (look(path) === undefined) create(path, busyTimeoutMs);
  const found = look(path);
  if (found === undefined) throw new Error('it is not there any more');
  if (!isPrivate(Number(found.mode))) {
    throw new SidekeyError('store_unavailable', `The counts of limits in ${path} can be changed by others.`, {
      hint: `chmod 600 ${shellWord(path)}`,
    });
  }
  const database = new Database(path, { fileMustExist: true, timeout: busyTimeoutMs });
  try {
    if (
      database.pragma('application_id', { simple: true }) !== applicationId ||
      database.pragma('user_version', { simple: true }) !== tableVersion
    ) {
      throw new Error('it is not a file of counts of this version');
    }
    configure(database);
    return {
      database,
      isInPlace() {
        const now = look(path);
        return now?.ino === found.ino && now.dev === found.dev;
      },
    };
  } catch (error) {
    database.close();
    throw error;
  }
}

function look(path: string): BigIntStats | undefined {
  return statSync(path, { bigint: true, throwIfNoEntry: false });
}

function configure(database: Database.Database): void {
  // The log lets a process that dies in the middle of a write cost nothing but that write.
  if (database.pragma('journal_mode = wal', { simple: true }) !== 'wal') {
    throw new Error('the file system has no shared memory');
  }
  // What a dead process wrote is with the system: only a power cut loses it. With `normal` a cut takes the counts since
  // the last checkpoint, and leaves a sound file; with `off` it may leave a broken one, which refuses until a person
  // comes. The price is a sync in a thousand writes (https://sqlite.org/pragma.html#pragma_synchronous).
  database.pragma('synchronous = normal');
  database.pragma('trusted_schema = off');
}

/** Builds it under another name, and links it into its place: of several processes at once one is first. */
function create(path: string, busyTimeoutMs: number): void {
  const folder = dirname(path);
  const draft = join(folder, `.${basename(path)}.${randomBytes(6).toString('hex')}`);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  try {
    // SQLite gives the log files the mode that it finds on the database.
    closeSync(openSync(draft, 'wx', 0o600));
    const database = new Database(draft, { fileMustExist: true, timeout: busyTimeoutMs });
    try {
      database.pragma(`application_id = ${applicationId}`);
      database.pragma(`user_version = ${tableVersion}`);
      configure(database);
      database.exec(`
        create table counts (
          name text primary key,
          at integer not null,
          used integer not null,
          unit integer not null,
          bytes integer not null,
          stale integer not null
        ) strict, without rowid;
        create index counts_stale on counts (stale);
      `);
    } finally {
      database.close();
    }
    try {
      linkSync(draft, path);
    } catch (error) {
      if (!isSystemError(error, 'EEXIST')) throw error;
    }
  } finally {
    for (const file of [draft, `${draft}-wal`, `${draft}-shm`]) rmSync(file, { force: true });
  }
}
