import { accessSync, constants, opendirSync, statfsSync } from 'node:fs';
import { dirname } from 'node:path';
import { isSystemError } from './errors.ts';
import { type Obstacle, obstacleOf, obstacles } from './obstacle.ts';
import { resultCode, type SqliteCode, sqliteCode } from './sqlite.ts';

/** Codes that SQLite returns for any refusal of the system; null: an error of the system itself. */
const systemRefused: ReadonlySet<SqliteCode | null> = new Set(['READONLY', 'IOERR', 'CANTOPEN', null]);

/**
 * Returns why the intact file at `path` cannot be used: from a SQLite or system error, and from the state of
 * its folder, because SQLite does not report the error of the system. Undefined for an unknown cause.
 */
export function sqliteObstacle(path: string, error: unknown): Obstacle | undefined {
  const code = sqliteCode(error);
  const certain = byExtendedCode[resultCode(error) ?? -1] ?? obstacleOf(error);
  if (certain !== undefined) return certain;
  const ofFolder = systemRefused.has(code) ? folderObstacle(dirname(path)) : undefined;
  return ofFolder ?? (code === null ? undefined : byCode[code]);
}

/** Less does not hold the shared memory of SQLite, which grows by 32 KiB. */
const minFreeBytes = 65_536;

/** Returns why a folder takes no further file; undefined if it does. */
function folderObstacle(folder: string): Obstacle | undefined {
  try {
    accessSync(folder, constants.W_OK);
    opendirSync(folder).closeSync();
    const { blocks, bavail, bsize, files, ffree } = statfsSync(folder);
    const isFull = (blocks > 0 && bavail * bsize < minFreeBytes) || (files > 0 && ffree === 0);
    return isFull ? byCode.FULL : undefined;
  } catch (error) {
    if (isSystemError(error, 'EACCES', 'EPERM')) return noAccess;
    return isSystemError(error, 'ENOENT', 'ENOTDIR') ? gone : obstacleOf(error);
  }
}

const noAccess = {
  why: 'this user may not write there',
  hint: 'make the file and its folder writable for the user that runs Sidekey',
};
const gone = {
  why: 'its folder is gone',
  hint: 'mount its disk, or restore the folder, then start Sidekey again',
};
const locked = {
  why: 'another program has locked it',
  hint: 'end the program that keeps it locked, such as a backup, then try again: nothing was lost',
};
const noMemory = {
  why: 'there is not enough memory',
  hint: 'end other programs or raise the memory limit, then try again: nothing was lost',
};

const byCode: Readonly<Partial<Record<SqliteCode, Obstacle>>> = {
  BUSY: locked,
  LOCKED: locked,
  FULL: { why: obstacles.ENOSPC.why, hint: `${obstacles.ENOSPC.hint}: nothing was lost` },
  NOMEM: noMemory,
  READONLY: { why: 'it is read-only', hint: noAccess.hint },
  CANTOPEN: { why: 'the file cannot be opened', hint: noAccess.hint },
  IOERR: obstacles.EIO,
};

const byExtendedCode: Readonly<Partial<Record<number, Obstacle>>> = {
  // SQLITE_READONLY_DBMOVED
  1_032: {
    why: 'the file was moved or replaced while it was open',
    hint: 'move it back if that was not meant, then start Sidekey again',
  },
  // SQLITE_IOERR_NOMEM
  3_082: noMemory,
};
