import { realpathSync } from 'node:fs';
import { basename, dirname, join, sep } from 'node:path';

/** Returns a path without symbolic links, also where its end does not exist. */
export function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    const parent = dirname(path);
    return parent === path ? path : join(realPath(parent), basename(path));
  }
}

/** Reports whether a path is a folder or lies below it. Both are absolute and normalized. */
export function isWithin(path: string, folder: string): boolean {
  return path === folder || path.startsWith(folder === sep ? sep : `${folder}${sep}`);
}
