/**
 * A lock that one holder on a machine has, and that the operating system takes back when the holder's process dies, even
 * by kill -9: an exclusive transaction on an empty SQLite database. SQLite tells connections of one process apart
 * too, which bare file locks do not.
 *
 * Never open a lock file in any other way: POSIX drops a process's locks on a file as soon as it closes any
 * descriptor of it (sqlite.org/lockingv3.html, "How To Corrupt").
 */
import fs from 'node:fs';
import Database from 'better-sqlite3';
import { idOf } from './log-files.ts';

/** A lock that is held. */
export interface FileLock {
  /** Whether the lock file is still the one at its path. If not, another process may hold a lock of this name. */
  held(): boolean;
  /** Gives the lock back. The file stays: removing it would race with whoever takes it next. */
  release(): void;
}

/**
 * Takes the lock at `path` (made, 0600, where it does not exist); undefined where another holds it. Never waits.
 * @throws where the file cannot be made or is no lock file.
 */
export function tryLock(path: string): FileLock | undefined {
  const db = new Database(path, { timeout: 0 });
  try {
    db.pragma('journal_mode = MEMORY');
    db.pragma('locking_mode = EXCLUSIVE');
    db.exec('BEGIN EXCLUSIVE');
    fs.chmodSync(path, 0o600);
    const id = idOf(fs.statSync(path, { bigint: true }));
    return {
      held: () => idOf(fs.statSync(path, { bigint: true, throwIfNoEntry: false })) === id,
      release: () => db.close(),
    };
  } catch (error) {
    db.close();
    if (String((error as { code?: unknown }).code).startsWith('SQLITE_BUSY')) return undefined;
    throw error;
  }
}
