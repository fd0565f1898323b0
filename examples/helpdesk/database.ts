import { chmodSync, closeSync, openSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';

/** An open SQLite database. */
export type SqliteDatabase = DatabaseSync;

/**
 * Opens the helpdesk's database; without a path it lives in memory. A file is the owner's alone (it holds
 * tokens).
 */
export function openDatabase(path?: string): SqliteDatabase {
  if (path !== undefined) {
    // SQLite gives its journal files the mode of the database file.
    closeSync(openSync(path, 'a', 0o600));
    chmodSync(path, 0o600);
  }
  const database = new DatabaseSync(path ?? ':memory:');
  if (path !== undefined) database.exec('pragma journal_mode = wal');
  return database;
}
