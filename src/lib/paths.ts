import { existsSync, realpathSync } from 'node:fs';
import { basename, dirname, join, sep } from 'node:path';

/** Returns a path without symbolic links, even if its end does not exist. */
export function realPath(path: string): string {
  // An exception for each missing path would take most of the time.
  if (existsSync(path)) {
    try {
      return realpathSync.native(path);
    } catch {
      // It has just been removed.
    }
  }
  const parent = dirname(path);
  return parent === path ? path : join(realPath(parent), basename(path));
}

/** Reports whether a path is a folder or below it. Both are absolute and normalized. */
export function isWithin(path: string, folder: string): boolean {
  return path === folder || path.startsWith(folder === sep ? sep : `${folder}${sep}`);
}
