import { randomBytes } from 'node:crypto';
import { access, constants, type FileHandle, link, open, rm, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import type { SQLInputValue } from 'node:sqlite';
import {
  CamelCasePlugin,
  Kysely,
  sql,
  type SqliteDatabase,
  SqliteDialect,
  type SqliteStatement,
} from 'kysely';
import { isSystemError, SidekeyError } from '../lib/errors.ts';
import { isPrivate, isWritableByAll, makeFolder, syncFolder } from '../lib/os.ts';
import {
  closeDatabase,
  type Database,
  isDuplicate,
  openDatabase,
  pragma,
  sqliteCode,
  sqliteObstacle,
} from '../lib/sqlite.ts';
import { shellWord } from '../lib/text.ts';
import { createCheckPace } from '../lib/timers.ts';
import { type ChangeLog, createChangeLog, writeNotes } from './change-log.ts';
import type { StoreTables } from './copy.ts';
import { sqlStore } from './sql-store.ts';
import { migrate, migrations, type Migrations, schemaState } from './migrations.ts';
import { type Schema, unsyncedMark } from './schema.ts';
import type { Store } from './store.ts';

export const sqliteMigrations: Migrations = {
  ...migrations({ binary: 'blob' }),
  '0026-grant-totals': { up: createTotals },
};

/** Returns the statement of a trigger that adds to the number of grants in the state of a row. */
function addTotal(row: 'new' | 'old', by: number) {
  return sql`
    insert into grant_totals values (${sql.raw(row)}.state, ${sql.raw(row)}.refreshable, ${sql.lit(by)})
    on conflict do update set total = total + ${sql.lit(by)};`;
}

/**
 * Keeps the number of grants by state: a count of a million rows would block the thread for half a second.
 */
async function createTotals(db: Kysely<unknown>): Promise<void> {
  const triggers = {
    insert: addTotal('new', 1),
    delete: addTotal('old', -1),
    'update of state, refreshable': sql`${addTotal('old', -1)} ${addTotal('new', 1)}`,
  };
  await sql`
    create table grant_totals (
      state text not null, refreshable integer not null, total integer not null,
      primary key (state, refreshable)
    )`.execute(db);
  await sql`
    insert into grant_totals select state, refreshable, count(*) from grants group by state, refreshable
  `.execute(db);
  for (const [event, statements] of Object.entries(triggers)) {
    await sql`
      create trigger ${sql.id(`grant_totals_${event.slice(0, 6)}`)} after ${sql.raw(event)} on grants
      begin ${statements} end`.execute(db);
  }
}

interface SqliteStoreOptions {
  readonly now: () => number;
  /** Migrations of this program. Default: `sqliteMigrations`. */
  readonly migrations?: Migrations;
  /** Milliseconds to block the thread for another process's write (usually about 1). Default: 2,000. */
  readonly busyTimeoutMs?: number;
}

/**
 * Opens the store in the SQLite file at `path`, or creates it (0600, in a folder 0700). Several processes of
 * one machine may open it at the same time. It must be on a local disk.
 * @throws SidekeyError `store_damaged`, `store_newer`, `store_unavailable`, `permissions_unsafe`,
 * `file_unwritable`
 */
export async function openSqliteStore(path: string, options: SqliteStoreOptions): Promise<Store> {
  const location = resolve(path);
  const database = await openSqliteFile(location, {
    migrations: options.migrations ?? sqliteMigrations,
    busyTimeoutMs: options.busyTimeoutMs ?? 2_000,
  });
  const watched = watch(database);
  const log = writeAheadLog(location);
  return sqlStore({
    db: new Kysely<Schema>({
      dialect: new SqliteDialect({ database: watched.database }),
      plugins: [new CamelCasePlugin()],
    }),
    location,
    now: options.now,
    lockClock: () => sql.val(Math.ceil(options.now())),
    epoch: watched.epoch,
    changesSince: watched.log.since,
    held: null,
    grantWritten: watched.log.addGrant,
    rightsWritten: (notifications) => notifications.forEach(watched.log.add),
    writesInWith: false,
    fault: (error) => (isOvertaken(error) ? 'again' : sqliteFault(location, error)),
    synced: log.synced,
    close: async () => {
      await log.close();
      closeDatabase(database);
    },
  });
}

/** Opens the tables of a store for a copy. @throws as `openSqliteStore` */
export async function openSqliteTables(path: string): Promise<StoreTables> {
  const location = resolve(path);
  const database = await openSqliteFile(location, {
    migrations: sqliteMigrations,
    busyTimeoutMs: 2_000,
    // A damaged file may lack rows without an error, and a copy may replace a complete one.
    isReadWhole: true,
  });
  const db = queriesOf(database).withPlugin(new CamelCasePlugin());
  return {
    location,
    db,
    fault: (error) => sqliteFault(location, error),
    close: () => Promise.resolve(closeDatabase(database)),
  };
}

/**
 * Returns functions that sync the write-ahead log (https://sqlite.org/wal.html) without blocking the thread,
 * and close it. With `synchronous = full`, SQLite does the same sync in each commit. The first sync includes
 * the folder, because the log may be new.
 */
function writeAheadLog(location: string): { synced: () => Promise<void>; close: () => Promise<void> } {
  let opened: Promise<FileHandle> | null = null;
  async function openLog(): Promise<FileHandle> {
    // Windows syncs only a file that is open for writing.
    const file = await open(`${location}-wal`, 'r+');
    await syncFolder(dirname(location));
    return file;
  }
  return {
    async synced() {
      opened ??= openLog();
      try {
        await (await opened).datasync();
      } catch (error) {
        await close();
        throw error;
      }
    },
    close,
  };
  async function close(): Promise<void> {
    const file = opened;
    opened = null;
    await file?.then((handle) => handle.close()).catch(() => undefined);
  }
}

/** Number of writes by all connections of this process, which see each other's writes at once. */
let ownWrites = 0;

/**
 * Caches prepared statements, whose texts are few and fixed, and counts changes. The pragma `data_version`
 * only reports commits of other connections (https://sqlite.org/pragma.html#pragma_data_version), and not
 * what they wrote. It takes microseconds; under load it runs every 5 ms (`createCheckPace`), and after each
 * write of this process: a refresh writes first, and then sees all commits.
 */
function watch(database: Database): { database: SqliteDatabase; epoch: () => number; log: ChangeLog } {
  const statements = new Map<string, SqliteStatement>();
  const dataVersion = database.prepare('pragma data_version');
  const versionNow = () => dataVersion.get()?.['data_version'];
  let seen = versionNow();
  let checkedWrites = ownWrites;
  const isDue = createCheckPace();
  const log = createChangeLog();
  const note = writeNotes((tables) => tables.forEach(log.add));

  function counted(text: string): SqliteStatement {
    const statement = statementOf(database, text);
    if (text.startsWith('select')) return statement;
    const run = text.endsWith(unsyncedMark)
      ? withoutSync(statement)
      : (parameters: readonly unknown[]) => statement.run(parameters);
    const written = () => {
      ownWrites += 1;
      note(text);
    };
    return {
      ...statement,
      all(parameters) {
        const rows = statement.all(parameters);
        written();
        return rows;
      },
      run(parameters) {
        const result = run(parameters);
        written();
        return result;
      },
    };
  }

  /** Runs a statement with `synchronous = normal`, which SQLite cannot set within a transaction. */
  function withoutSync(statement: Pick<SqliteStatement, 'run'>): SqliteStatement['run'] {
    return (parameters) => {
      database.exec('pragma synchronous = normal');
      try {
        return statement.run(parameters);
      } finally {
        database.exec('pragma synchronous = full');
      }
    };
  }

  return {
    log,
    database: {
      close: () => {
        closeDatabase(database);
      },
      prepare(text) {
        const prepared = statements.get(text) ?? counted(text);
        statements.set(text, prepared);
        return prepared;
      },
    },
    epoch() {
      if (isDue() || checkedWrites !== ownWrites) {
        checkedWrites = ownWrites;
        const version = versionNow();
        if (version !== seen) log.lose();
        seen = version;
      }
      return log.count;
    },
  };
}

function bound(parameters: readonly unknown[]): SQLInputValue[] {
  return parameters as SQLInputValue[];
}

/** Prepares a statement for Kysely. */
function statementOf(database: Database, sql: string): SqliteStatement {
  const statement = database.prepare(sql);
  // After some errors, such as a full disk, SQLite has rolled back itself, and another rollback would fail
  // and hide the error (https://sqlite.org/lang_transaction.html).
  const isDone = () => sql === 'rollback' && !database.isTransaction;
  return {
    reader: statement.columns().length > 0,
    all: (parameters) => statement.all(...bound(parameters)),
    run: (parameters) =>
      isDone() ? { changes: 0, lastInsertRowid: 0 } : statement.run(...bound(parameters)),
    iterate: (parameters) => statement.iterate(...bound(parameters)),
  };
}

/** Application id of a store: "SKEY" (https://sqlite.org/pragma.html#pragma_application_id). */
export const applicationId = 0x534b4559;

interface SqliteFileOptions {
  readonly migrations: Migrations;
  /** Milliseconds that a statement waits for another process's write, which blocks the thread. */
  readonly busyTimeoutMs: number;
  /** Reads all pages of a large file too. Default: false. */
  readonly isReadWhole?: boolean;
}

/** Bytes of a file that every open reads whole, in some milliseconds. */
const wholeBytes = 8 * 1_048_576;

/** Path of the mark beside a file whose check failed. While it exists, every open reads the whole file. */
function damageMark(path: string): string {
  return `${path}-damaged`;
}

/** Reports whether an open checks only the first pages of the file at `path`, because it is large. */
export async function isCheckedInPart(path: string): Promise<boolean> {
  return (await sizeOf(path)) > wholeBytes && (await modeOf(damageMark(path))) === null;
}

/**
 * Reads all pages of the store at `path`, which blocks the thread for about a second per gigabyte. Marks a
 * damaged file, so that no process opens it again.
 * @throws SidekeyError as `openSqliteStore`
 */
export async function checkSqliteFile(path: string): Promise<void> {
  try {
    using database = openDatabase(path, { readOnly: true, timeout: 2_000 });
    checkPages(database, path);
  } catch (error) {
    const meaning = sqliteFault(path, error);
    if (meaning === 'duplicate') throw error;
    if (meaning.code === 'store_damaged')
      await writeFile(damageMark(path), '', { mode: 0o600 }).catch(() => undefined);
    throw meaning;
  }
}

/**
 * Opens the database file of a store, or creates it. A read-only connection first checks an existing file, so
 * that no damaged, foreign or newer file is changed. Of a large file, it checks the header, the size and the
 * migrations only (`docs/decisions/0146-check-of-large-files.md`).
 * @param path absolute
 * @throws as `openSqliteStore`
 */
export async function openSqliteFile(path: string, options: SqliteFileOptions): Promise<Database> {
  // Checks the log first: a process that creates the store links the database before its log exists.
  const hasLog = (await sizeOf(`${path}-wal`)) > 0;
  const size = await sizeOf(path);
  if (size === missing && hasLog) {
    throw damagedStore(
      path,
      `the database file is missing, while its write-ahead log ${path}-wal is still there`,
    );
  }
  if (size === missing) await create(path, options);
  if (size === 0) throw damagedStore(path, 'the file is empty');
  await checkStoreFiles(path);
  let database: Database | undefined;
  try {
    const state = await judge(path, options);
    // SQLite reads a truncated last page as if zeros followed. With a log, a partly written page is valid.
    if (size > 0 && size % pageSize !== 0 && !hasLog) throw damagedStore(path, 'it was cut short');
    database = connect(path, options.busyTimeoutMs);
    if (state === 'behind') await upgrade(database, options.migrations);
    return database;
  } catch (error) {
    if (database !== undefined) closeDatabase(database);
    const meaning = sqliteFault(path, error);
    throw meaning === 'duplicate' ? error : meaning;
  }
}

const missing = -1;

/** Bytes of a database page. Set when a store is created, and fixed for the life of the file. */
const pageSize = 4_096;

async function sizeOf(path: string): Promise<number> {
  let stats;
  try {
    stats = await stat(path);
  } catch (error) {
    // ENOTDIR: a file is in place of the folder, which `create` reports.
    if (isSystemError(error, 'ENOENT', 'ENOTDIR')) return missing;
    throw new SidekeyError('store_unavailable', `The store at ${path} cannot be reached.`, { cause: error });
  }
  if (stats.isFile()) return stats.size;
  throw new SidekeyError('store_unavailable', `The store's path ${path} is not a file.`, {
    hint: 'Set "store" in the configuration to the path of a file.',
  });
}

/**
 * Builds the database under a temporary name, and links it to its path when it is complete, so a crash leaves
 * no partial store. Of two concurrent processes, one creates the file and both use it. Never overwrites a
 * file.
 */
async function create(path: string, options: SqliteFileOptions): Promise<void> {
  const folder = dirname(path);
  const draft = join(folder, `.${basename(path)}.${randomBytes(6).toString('hex')}`);
  try {
    makeFolder(folder, 0o700);
    await checkStoreFolder(folder);
    try {
      // SQLite creates the log files with the mode of the database.
      await (await open(draft, 'wx', 0o600)).close();
      await build(draft, options);
      await link(draft, path).catch((error: unknown) => {
        if (!isSystemError(error, 'EEXIST')) throw error;
      });
    } finally {
      for (const file of [draft, `${draft}-wal`, `${draft}-shm`]) await rm(file, { force: true });
    }
    await syncFolder(folder);
  } catch (error) {
    if (error instanceof SidekeyError) throw error;
    if (sqliteCode(error) === null) throw unwritable(path, error);
    const meaning = sqliteFault(path, error);
    throw meaning === 'duplicate' ? error : meaning;
  }
}

async function build(draft: string, options: SqliteFileOptions): Promise<void> {
  using database = connect(draft, options.busyTimeoutMs);
  database.exec(`pragma page_size = ${pageSize}; pragma application_id = ${applicationId}`);
  await upgrade(database, options.migrations);
  // The close ignores that a full disk does not take the pages of the log, and the log is removed.
  pragma(database, 'wal_checkpoint(truncate)');
}

function connect(path: string, busyTimeoutMs: number): Database {
  const database = openDatabase(path, { timeout: busyTimeoutMs });
  try {
    // With a write-ahead log, several processes can read while one writes.
    const mode = pragma(database, 'journal_mode = wal');
    if (mode !== 'wal') {
      throw new SidekeyError(
        'store_unavailable',
        `The store at ${path} is on a file system without shared memory.`,
        { hint: 'Put the store on a local disk.' },
      );
    }
    // A rotated refresh token must survive a power cut, so every commit waits for the disk. The default of
    // this SQLite build, `normal`, syncs only at checkpoints. `fullfsync` has an effect only on macOS.
    database.exec('pragma synchronous = full');
    database.exec('pragma fullfsync = on');
    database.exec('pragma foreign_keys = on');
    // A schema that somebody else wrote may use only innocuous functions (https://sqlite.org/pragma.html).
    database.exec('pragma trusted_schema = off');
    return database;
  } catch (error) {
    closeDatabase(database);
    throw error;
  }
}

function checkPages(database: Database, path: string): void {
  const check = pragma(database, 'quick_check(1)');
  if (check !== 'ok') throw damagedStore(path, 'its pages do not fit together', check);
}

async function judge(path: string, options: SqliteFileOptions): Promise<'behind' | 'current'> {
  using database = openDatabase(path, { readOnly: true, timeout: options.busyTimeoutMs });
  if (pragma(database, 'application_id') !== applicationId) {
    throw new SidekeyError(
      'store_damaged',
      `The file ${path} is a database of another program, not a store.`,
      { hint: 'Set "store" in the configuration to a file of its own.' },
    );
  }
  const isPartial = options.isReadWhole !== true && (await isCheckedInPart(path));
  if (!isPartial) {
    checkPages(database, path);
    await rm(damageMark(path), { force: true });
  }
  const state = await schemaState(queriesOf(database), options.migrations);
  if (state === 'newer') {
    throw new SidekeyError('store_newer', `The store at ${path} was written by a newer version of Sidekey.`, {
      hint: 'Use that version, or restore a backup that this one made.',
    });
  }
  if (state === 'none') throw damagedStore(path, 'it has no tables of a store');
  if (state === 'behind' && isPartial) checkPages(database, path);
  return state;
}

/**
 * Runs the missing migrations in one transaction. It first takes the write lock, so only one of several
 * processes runs them. A crash leaves the store unchanged.
 */
async function upgrade(database: Database, migrations: Migrations): Promise<void> {
  database.exec('begin immediate');
  try {
    await migrate(queriesOf(database), migrations);
    database.exec('commit');
  } catch (error) {
    if (database.isTransaction) database.exec('rollback');
    throw error;
  }
}

/** Returns queries on a connection that the caller closes; never calls `destroy`, which would close it. */
function queriesOf(database: Database): Kysely<Schema> {
  return new Kysely<Schema>({
    dialect: new SqliteDialect({
      database: { close: () => {}, prepare: (sql) => statementOf(database, sql) },
    }),
  });
}

/**
 * Checks that no other user can read or replace the store's files, and that this process can write them. Does
 * not open them: closing a descriptor of a database file would release SQLite's locks on it
 * (https://sqlite.org/howtocorrupt.html §2.2).
 * @throws SidekeyError `permissions_unsafe`, `file_unwritable`
 */
export async function checkStoreFiles(path: string): Promise<void> {
  await checkStoreFolder(dirname(path));
  for (const file of [path, `${path}-wal`, `${path}-shm`]) {
    const mode = await modeOf(file);
    if (mode === null) continue;
    if (!isPrivate(mode)) {
      throw new SidekeyError('permissions_unsafe', `The store's file ${file} can be used by other users.`, {
        hint: `chmod 600 ${shellWord(file)}`,
      });
    }
    await checkWritable(file, constants.R_OK | constants.W_OK).catch((error: SidekeyError) => {
      // The process that closes the last connection removes the log, possibly between the two checks.
      if (!isSystemError(error.cause, 'ENOENT')) throw error;
    });
  }
}

/**
 * Checks the folder of a store.
 * @throws SidekeyError `permissions_unsafe`, `file_unwritable`
 */
async function checkStoreFolder(folder: string): Promise<void> {
  const mode = await modeOf(folder);
  if (mode !== null && isWritableByAll(mode)) {
    throw new SidekeyError(
      'permissions_unsafe',
      `Every user can write to ${folder}, the folder of the store.`,
      {
        hint: `chmod 700 ${shellWord(folder)}`,
      },
    );
  }
  // SQLite keeps its write-ahead log beside the database, so the folder must be writable too.
  await checkWritable(folder, constants.W_OK | constants.X_OK);
}

async function modeOf(path: string): Promise<number | null> {
  try {
    return (await stat(path)).mode;
  } catch {
    return null; // The file is missing, or unreachable. Opening an unreachable file fails later.
  }
}

async function checkWritable(path: string, mode: number): Promise<void> {
  try {
    await access(path, mode);
  } catch (cause) {
    throw unwritable(path, cause);
  }
}

/**
 * Classifies a SQLite error (https://sqlite.org/rescode.html): a violated unique constraint, or a fault of
 * the store at `location`. After an unknown error, the store is unusable and never treated as empty. Only an
 * error that an intact file cannot cause becomes `store_damaged`.
 */
export function sqliteFault(location: string, error: unknown): 'duplicate' | SidekeyError {
  if (error instanceof SidekeyError) return error;
  if (isDuplicate(error)) return 'duplicate';
  if (isDamage(error)) return damagedStore(location, 'it cannot be read', error);
  const { why, hint } = sqliteObstacle(location, error) ?? {};
  return new SidekeyError(
    'store_unavailable',
    `The store at ${location} cannot be used${why === undefined ? '' : `: ${why}`}.`,
    { hint: hint ?? 'Nothing was lost: try again when the cause is gone.', cause: error },
  );
}

/**
 * Reports a transaction that began to read, such as by the pragma of `watch`, before another process wrote
 * (`SQLITE_BUSY_SNAPSHOT`).
 */
function isOvertaken(error: unknown): boolean {
  return sqliteCode(error) === 'BUSY' && (error as { errcode?: unknown }).errcode === 517;
}

function isDamage(error: unknown): boolean {
  const code = sqliteCode(error);
  // ERROR has many causes. The queries are fixed, so these messages report tables of another schema.
  if (code === 'ERROR') return /^no such (table|column|index)|has no column/.test((error as Error).message);
  return code === 'CORRUPT' || code === 'NOTADB' || code === 'FORMAT';
}

/** Returns the failure for an existing file that is not an intact store. */
function damagedStore(location: string, why: string, cause?: unknown): SidekeyError {
  return new SidekeyError(
    'store_damaged',
    `The store at ${location} is damaged: ${why}. It was left as it is.`,
    {
      hint: `Restore it from a backup, or move all files ${location}* away to begin with an empty store.`,
      cause,
    },
  );
}

/** Returns the failure for a file or folder of the store that cannot be written. */
function unwritable(path: string, cause: unknown): SidekeyError {
  const { why, hint } = sqliteObstacle(path, cause) ?? {};
  return new SidekeyError(
    'file_unwritable',
    `The store needs to write to ${path}, and cannot${why === undefined ? '' : `: ${why}`}.`,
    {
      hint:
        hint ??
        `Make ${path} writable for the user that runs Sidekey, or set another "store" in the configuration.`,
      cause,
    },
  );
}
