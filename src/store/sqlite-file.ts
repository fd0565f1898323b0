import { randomBytes } from 'node:crypto';
import { link, mkdir, open, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import Database from 'better-sqlite3';
import { Kysely, SqliteDialect } from 'kysely';
import { SidekeyError } from '../errors.ts';
import { syncFolder } from '../private-file.ts';
import { isSystemError } from '../system-error.ts';
import { migrate, schemaState } from './migrate.ts';
import type { Migrations } from './migrations/migrations.ts';
import type { Schema } from './schema.ts';
import { damagedStore, sqliteFault } from './sqlite-fault.ts';
import { checkStoreFiles, checkStoreFolder, unwritable } from './store-permissions.ts';

/** "SKEY" in the header of the database (https://sqlite.org/pragma.html#pragma_application_id): it is ours. */
export const applicationId = 0x534b4559;

/** What opening a file depends on. */
export interface SqliteFileOptions {
  /** What this program knows of the schema. */
  readonly migrations: Migrations;
  /** How long a statement waits for another process's write, in milliseconds, while it blocks the thread. */
  readonly busyTimeoutMs: number;
}

/**
 * Opens the database file of a store, and makes it where there is none. A file that is there is judged by a read-only
 * connection first, so that nothing writes to one that is damaged, foreign, or of a newer version.
 * @param path Absolute.
 * @throws SidekeyError `store_damaged`, `store_newer`, `store_unavailable`, `permissions_unsafe`, `file_unwritable`.
 */
export async function openSqliteFile(path: string, options: SqliteFileOptions): Promise<Database.Database> {
  if (path !== path.trim()) {
    // The driver trims file names: it would open another file than the one that is checked here.
    throw new SidekeyError('file_unwritable', `The store's path "${path}" begins or ends with a space.`);
  }
  // The log is looked for first: another process that makes the store links the database before it has a log.
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
  let database: Database.Database | undefined;
  try {
    const state = await judge(path, options);
    // SQLite reads a last page that is cut as one that ends in zeros. Under a log, a page may be half written.
    if (size > 0 && size % pageSize !== 0 && !hasLog) throw damagedStore(path, 'it was cut short');
    database = connect(path, options.busyTimeoutMs);
    if (state === 'behind') await upgrade(database, options.migrations);
    return database;
  } catch (error) {
    database?.close();
    const meaning = sqliteFault(path, error);
    throw meaning === 'duplicate' ? error : meaning;
  }
}

const missing = -1;

/** Bytes of a database page. Set when a store is made: SQLite keeps it for the life of the file. */
const pageSize = 4_096;

async function sizeOf(path: string): Promise<number> {
  let found;
  try {
    found = await stat(path);
  } catch (error) {
    // ENOTDIR: a file stands where the folder should be, as the creation will find.
    if (isSystemError(error, 'ENOENT', 'ENOTDIR')) return missing;
    throw new SidekeyError('store_unavailable', `The store at ${path} cannot be reached.`, { cause: error });
  }
  if (found.isFile()) return found.size;
  throw new SidekeyError('store_unavailable', `The store's path ${path} is not a file.`, {
    hint: 'Set "store" in the configuration to the path of a file.',
  });
}

/**
 * Builds the database under another name and links it into its place when it is whole: a crash leaves no half of a
 * store, and of two processes at once one is first and both use its file. Nothing that is there is overwritten.
 */
async function create(path: string, options: SqliteFileOptions): Promise<void> {
  const folder = dirname(path);
  const draft = join(folder, `.${basename(path)}.${randomBytes(6).toString('hex')}`);
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await checkStoreFolder(folder);
    try {
      // SQLite gives the log files the mode that it finds on the database.
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
    if (!(error instanceof Database.SqliteError)) throw unwritable(path, error);
    const meaning = sqliteFault(path, error);
    throw meaning === 'duplicate' ? error : meaning;
  }
}

async function build(draft: string, options: SqliteFileOptions): Promise<void> {
  const database = connect(draft, options.busyTimeoutMs);
  try {
    database.pragma(`page_size = ${pageSize}`);
    database.pragma(`application_id = ${applicationId}`);
    await migrate(queriesOf(database), options.migrations);
  } finally {
    database.close();
  }
}

function connect(path: string, busyTimeoutMs: number): Database.Database {
  const database = new Database(path, { fileMustExist: true, timeout: busyTimeoutMs });
  try {
    // The log lets readers and a writer of several processes go on side by side.
    const mode = database.pragma('journal_mode = wal', { simple: true });
    if (mode !== 'wal') {
      throw new SidekeyError(
        'store_unavailable',
        `The store at ${path} is on a file system without shared memory.`,
        {
          hint: 'Put the store on a local disk.',
        },
      );
    }
    // A rotated refresh token must survive a power cut: every commit waits for the disk. (`normal`, which this build
    // of SQLite has by default, syncs at checkpoints only; `fullfsync` matters on macOS alone.)
    database.pragma('synchronous = full');
    database.pragma('fullfsync = on');
    database.pragma('foreign_keys = on');
    // Nothing in the schema of a file that somebody else wrote may call functions.
    database.pragma('trusted_schema = off');
    return database;
  } catch (error) {
    database.close();
    throw error;
  }
}

async function judge(path: string, options: SqliteFileOptions): Promise<'behind' | 'current'> {
  const database = new Database(path, {
    fileMustExist: true,
    readonly: true,
    timeout: options.busyTimeoutMs,
  });
  try {
    if (database.pragma('application_id', { simple: true }) !== applicationId) {
      throw new SidekeyError(
        'store_damaged',
        `The file ${path} is a database of another program, not a store.`,
        {
          hint: 'Set "store" in the configuration to a file of its own.',
        },
      );
    }
    const check = database.pragma('quick_check(1)', { simple: true });
    if (check !== 'ok') throw damagedStore(path, 'its pages do not fit together', check);
    const state = await schemaState(queriesOf(database), options.migrations);
    if (state === 'newer') {
      throw new SidekeyError(
        'store_newer',
        `The store at ${path} was written by a newer version of Sidekey.`,
        {
          hint: 'Use that version, or restore a backup that this one made.',
        },
      );
    }
    if (state === 'none') throw damagedStore(path, 'it has no tables of a store');
    return state;
  } finally {
    database.close();
  }
}

/**
 * Runs the missing migrations in one transaction, which takes the write lock first: of several processes one does it,
 * and a crash in the middle leaves the store as it was.
 */
async function upgrade(database: Database.Database, migrations: Migrations): Promise<void> {
  database.exec('begin immediate');
  try {
    await migrate(queriesOf(database), migrations);
    database.exec('commit');
  } catch (error) {
    if (database.inTransaction) database.exec('rollback');
    throw error;
  }
}

/** Queries on a connection whose life is ours: this Kysely is never destroyed, which would close it. */
function queriesOf(database: Database.Database): Kysely<Schema> {
  return new Kysely<Schema>({ dialect: new SqliteDialect({ database }) });
}
