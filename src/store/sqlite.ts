import { open, type FileHandle } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import type Database from 'better-sqlite3';
import { Kysely, SqliteDialect, type SqliteDatabase, type SqliteStatement } from 'kysely';
import { migrations, type Migrations } from './migrations/migrations.ts';
import type { Schema } from './schema.ts';
import { syncFolder } from '../private-file.ts';
import { sqlStore } from './sql-store.ts';
import { sqliteFault } from './sqlite-fault.ts';
import { openSqliteFile } from './sqlite-file.ts';
import type { Store } from './store.ts';

/** The migrations of a SQLite store. */
export const sqliteMigrations: Migrations = migrations({ binary: 'blob' });

/** What a SQLite store is opened with. */
export interface SqliteStoreOptions {
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** What this program knows of the schema; by default `sqliteMigrations`. */
  readonly migrations?: Migrations;
  /**
   * How long a statement waits for another process's write, in milliseconds; by default 2,000. The wait blocks the
   * thread, and a write takes about one: so it is a bound for the worst.
   */
  readonly busyTimeoutMs?: number;
}

/**
 * Opens the store in the SQLite file at `path`, and makes it (0600, in a folder 0700) where there is none. Several
 * processes may have it open at once, on one machine and a local disk.
 * @throws SidekeyError `store_damaged`, `store_newer`, `store_unavailable`, `permissions_unsafe`, `file_unwritable`:
 * the file was left as it is.
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
    db: new Kysely<Schema>({ dialect: new SqliteDialect({ database: watched.database }) }),
    location,
    now: options.now,
    epoch: watched.epoch,
    fault: (error) => sqliteFault(location, error),
    synced: log.synced,
    close: async () => {
      await log.close();
      database.close();
    },
  });
}

/**
 * Statements, as Kysely writes them, that do not wait for the disk: what they wrote survives every crash of a process, and
 * a power cut only after the next `synced`. A wait blocks the thread for milliseconds, in which answers with rotated
 * refresh tokens lie unread. Nothing waits for the disk on behalf of locks and notes of activity: no holder of a lock
 * outlives a power cut.
 */
const unsynced = /^(?:(?:insert into|update|delete from) "(?:locks|grant_activity)"|update "grants") /;

/**
 * The log that commits are appended to (https://sqlite.org/wal.html), for syncing off the thread: what `synchronous = full`
 * does within each commit. The folder is synced once, for the log may be new.
 */
function writeAheadLog(location: string): { synced: () => Promise<void>; close: () => Promise<void> } {
  let opened: Promise<FileHandle> | null = null;
  async function openLog(): Promise<FileHandle> {
    const file = await open(`${location}-wal`, 'r');
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

/** Writes by all connections of this process: each of them sees the others' at once. */
let ownChanges = 0;

/**
 * Keeps statements prepared (their texts are few and fixed), and counts changes. `data_version` tells of other
 * connections' commits alone (https://sqlite.org/pragma.html#pragma_data_version), so those of this process are counted
 * here, in the moment they happen. The pragma takes locks, some microseconds' worth, so it is asked once in a turn of
 * the event loop: a commit of another process in the middle of one cannot be told from one right after it.
 */
function watch(database: Database.Database): { database: SqliteDatabase; epoch: () => number } {
  const statements = new Map<string, SqliteStatement>();
  const dataVersion = database.prepare<[], number>('pragma data_version').pluck();
  let seen = dataVersion.get();
  let foreignChanges = 0;
  let askedThisTurn = false;

  function counted(sql: string): SqliteStatement {
    const statement = database.prepare(sql);
    if (statement.readonly) return statement;
    const run = unsynced.test(sql)
      ? withoutSync(statement)
      : (parameters: readonly unknown[]) => statement.run(...parameters);
    return {
      reader: statement.reader,
      iterate: (parameters) => statement.iterate(...parameters),
      all(parameters) {
        const rows = statement.all(...parameters);
        ownChanges += 1;
        return rows;
      },
      run(parameters) {
        const result = run(parameters);
        ownChanges += 1;
        return result;
      },
    };
  }

  /** Never within a transaction, where SQLite refuses it: Kysely gives its one connection to one of them at a time. */
  function withoutSync(statement: Database.Statement) {
    return (parameters: readonly unknown[]) => {
      database.pragma('synchronous = normal');
      try {
        return statement.run(...parameters);
      } finally {
        database.pragma('synchronous = full');
      }
    };
  }

  return {
    database: {
      close: () => {
        database.close();
      },
      prepare(sql) {
        const prepared = statements.get(sql) ?? counted(sql);
        statements.set(sql, prepared);
        return prepared;
      },
    },
    epoch() {
      if (!askedThisTurn) {
        const version = dataVersion.get();
        if (version !== seen) foreignChanges += 1;
        seen = version;
        askedThisTurn = true;
        setImmediate(() => (askedThisTurn = false));
      }
      return ownChanges + foreignChanges;
    },
  };
}
