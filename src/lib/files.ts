/** What keeps a file private, and its name on disk, for every room that writes files. */
import { open } from 'node:fs/promises';

// Windows has no such bits: there the folder's access list decides.
const hasModes = process.platform !== 'win32';

/** Whether a file or folder of this mode is its owner's alone: nobody else may read, write or run it. */
export function isPrivate(mode: number): boolean {
  return !hasModes || (mode & 0o077) === 0;
}

/** Whether every user of the machine may write to a file or folder of this mode. */
export function isWritableByAll(mode: number): boolean {
  return hasModes && (mode & 0o002) !== 0;
}

/**
 * Makes a new name in a folder itself survive a power cut (`fsync(2)`: the entry in the folder is synced apart from the
 * file). Rejects with what the system says; not every system lets a folder be opened and synced.
 */
export async function syncFolder(folder: string): Promise<void> {
  if (!hasModes) return;
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
