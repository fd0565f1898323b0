/** Giving the log file a number and its path free, beside other writers that may do the same. */
import fs from 'node:fs';
import { tryLock } from './file-lock.ts';
import { idOf, rotatedFiles, rotatedName } from './log-files.ts';

/**
 * Rotates the file at `file`, if it is still the one with this `id` and nobody else is at it. Answers the path it has now,
 * or undefined where another writer rotates or has rotated. Never overwrites a file; when interrupted, the file has
 * both names, and the next rotation finishes.
 */
export function rotate(file: string, id: string): string | undefined {
  const lock = tryLock(`${file}.rotate.lock`);
  if (lock === undefined) return undefined;
  try {
    const isOurs = (at: string) => idOf(fs.statSync(at, { bigint: true, throwIfNoEntry: false })) === id;
    if (!isOurs(file)) return undefined;
    const newest = rotatedFiles(file).at(-1);
    if (newest !== undefined && isOurs(newest.path)) {
      fs.unlinkSync(file);
      return newest.path;
    }
    const target = rotatedName(file, (newest?.number ?? 0) + 1);
    try {
      fs.linkSync(file, target);
    } catch (error) {
      if (!noLinks.has(String((error as NodeJS.ErrnoException).code)) || fs.existsSync(target)) throw error;
      fs.renameSync(file, target);
      return target;
    }
    fs.unlinkSync(file);
    return target;
  } finally {
    lock.release();
  }
}

/** What file systems without hard links say (FAT, some network and user-space ones). */
const noLinks = new Set(['EPERM', 'ENOSYS', 'ENOTSUP', 'EOPNOTSUPP', 'EMLINK']);
