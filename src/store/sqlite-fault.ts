import Database from 'better-sqlite3';
import { SidekeyError } from '../errors.ts';

/**
 * What an error of SQLite means (https://sqlite.org/rescode.html): a unique constraint that was violated, or a fault
 * of the store at `location`. What is not known is a store that cannot be used, never an empty one.
 */
export function sqliteFault(location: string, error: unknown): 'duplicate' | SidekeyError {
  if (error instanceof SidekeyError) return error;
  const code = error instanceof Database.SqliteError ? error.code : '';
  if (code === 'SQLITE_CONSTRAINT_UNIQUE' || code === 'SQLITE_CONSTRAINT_PRIMARYKEY') return 'duplicate';
  // SQLITE_ERROR is SQL that does not fit the tables: our queries are fixed, so it is the tables that are not ours.
  if (/^SQLITE_(CORRUPT|NOTADB|FORMAT|ERROR)/.test(code))
    return damagedStore(location, 'it cannot be read', error);
  return new SidekeyError('store_unavailable', `The store at ${location} cannot be used${reason(code)}.`, {
    hint: 'Nothing was lost: try again when the cause is gone.',
    cause: error,
  });
}

/** The failure of a file that is there and is no sound store of ours. */
export function damagedStore(location: string, why: string, cause?: unknown): SidekeyError {
  return new SidekeyError(
    'store_damaged',
    `The store at ${location} is damaged: ${why}. It was left as it is.`,
    {
      hint: `Restore it from a backup, or move ${location} away to begin with an empty store.`,
      cause,
    },
  );
}

const reasons: readonly (readonly [code: string, reason: string])[] = [
  ['SQLITE_BUSY', 'another program has locked it'],
  ['SQLITE_LOCKED', 'another program has locked it'],
  ['SQLITE_FULL', 'the disk is full'],
  ['SQLITE_READONLY', 'it is read-only'],
  ['SQLITE_CANTOPEN', 'the file cannot be opened'],
  ['SQLITE_IOERR', 'the disk reports an error'],
  ['SQLITE_NOMEM', 'there is not enough memory'],
];

function reason(code: string): string {
  const found = reasons.find(([prefix]) => code.startsWith(prefix));
  return found === undefined ? '' : `: ${found[1]}`;
}
