import { open } from 'node:fs/promises';

// Windows has no such bits: there the folder's access list decides.
const hasModes = process.platform !== 'win32';

/** Reports whether this mode gives access to the owner alone. */
export function isPrivate(mode: number): boolean {
  return !hasModes || (mode & 0o077) === 0;
}

/** Reports whether every user of the machine may write to a file or folder of this mode. */
export function isWritableByAll(mode: number): boolean {
  return hasModes && (mode & 0o002) !== 0;
}

/**
 * Syncs a folder, so that a new entry survives a power failure: `fsync(2)` of the file does not sync the entry. Rejects with
 * the system's error; not every system can sync a folder.
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
