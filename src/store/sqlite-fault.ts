import { SidekeyError } from '../lib/errors.ts';
import { isDuplicate, sqliteCode } from '../lib/sqlite.ts';
import { sqliteObstacle } from '../lib/sqlite-obstacle.ts';

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

function isDamage(error: unknown): boolean {
  const code = sqliteCode(error);
  // ERROR has many causes. The queries are fixed, so these messages report tables of another schema.
  if (code === 'ERROR') return /^no such (table|column|index)|has no column/.test((error as Error).message);
  return code === 'CORRUPT' || code === 'NOTADB' || code === 'FORMAT';
}

/** Returns the failure for an existing file that is not an intact store. */
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

/** Returns the failure for a file or folder of the store that cannot be written. */
export function unwritable(path: string, cause: unknown): SidekeyError {
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
