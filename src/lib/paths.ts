import { existsSync, lstatSync, realpathSync } from 'node:fs';
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

/** Returns a function like `realPath` that looks at each folder once: for many paths of one moment. */
export function realPathMemo(): typeof realPath {
  const results = new Map<string, string>();
  return function real(path: string): string {
    let result = results.get(path);
    if (result === undefined) {
      const parent = dirname(path);
      const at = parent === path ? path : join(real(parent), basename(path));
      const isLink = existsSync(at) && lstatSync(at, { throwIfNoEntry: false })?.isSymbolicLink();
      result = isLink === true ? realPath(at) : at;
      results.set(path, result);
    }
    return result;
  };
}

/** Reports whether a path is a folder or lies below it. Both are absolute and normalized. */
export function isWithin(path: string, folder: string): boolean {
  return path === folder || path.startsWith(folder === sep ? sep : `${folder}${sep}`);
}
