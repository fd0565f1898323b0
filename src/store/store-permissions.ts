import { access, constants, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { SidekeyError } from '../errors.ts';
import { isPrivate, isWritableByAll } from '../private-file.ts';
import { shellWord } from '../shell-word.ts';
import { isSystemError } from '../system-error.ts';

/**
 * Checks that nobody else can read the store's files or replace them, and that this process can write them.
 * Looks at names only: to open and close a database file beside SQLite would drop SQLite's own locks on it
 * (https://sqlite.org/howtocorrupt.html §2.2).
 * @throws SidekeyError `permissions_unsafe`, `file_unwritable`.
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
      // The process that was the last to close its connection takes the log away, perhaps at this moment.
      if (!isSystemError(error.cause, 'ENOENT')) throw error;
    });
  }
}

/**
 * Checks the folder of a store.
 * @throws SidekeyError `permissions_unsafe`, `file_unwritable`.
 */
export async function checkStoreFolder(folder: string): Promise<void> {
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
    return null; // Not there; what cannot be reached fails when it is opened.
  }
}

async function checkWritable(path: string, mode: number): Promise<void> {
  try {
    await access(path, mode);
  } catch (cause) {
    throw unwritable(path, cause);
  }
}

/** The failure of a file or folder of the store that cannot be written. */
export function unwritable(path: string, cause: unknown): SidekeyError {
  return new SidekeyError('file_unwritable', `The store needs to write to ${path}, and cannot.`, {
    hint: `Make ${path} writable for the user that runs Sidekey, or set another "store" in the configuration.`,
    cause,
  });
}
