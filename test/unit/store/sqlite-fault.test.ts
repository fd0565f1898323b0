import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { SidekeyError } from '../../../src/lib/errors.ts';
import { hintText } from '../../../src/lib/hint.ts';
import { sqliteFault } from '../../../src/store/sqlite.ts';
import { tempFolder } from '../../support/temp-folder.ts';

/** An error as node:sqlite throws it. */
const sqliteError = (errcode: number, message = 'detail') =>
  Object.assign(new Error(message), { code: 'ERR_SQLITE_ERROR', errcode, errstr: 'detail' });

/** Name, number and message of an error, its failure, and what the failure says. */
const rows: readonly (readonly [string, number, string, string, RegExp])[] = [
  ['SQLITE_CORRUPT', 11, '', 'store_damaged', /it cannot be read/],
  ['SQLITE_CORRUPT_INDEX', 779, '', 'store_damaged', /it cannot be read/],
  ['SQLITE_NOTADB', 26, '', 'store_damaged', /it cannot be read/],
  ['SQLITE_ERROR', 1, 'no such table: grants', 'store_damaged', /it cannot be read/],
  ['SQLITE_ERROR', 1, 'no such column: state', 'store_damaged', /it cannot be read/],
  ['SQLITE_ERROR', 1, 'table grants has no column named state', 'store_damaged', /it cannot be read/],
  ['SQLITE_ERROR', 1, 'cannot rollback - no transaction is active', 'store_unavailable', /used\.$/],
  ['SQLITE_ERROR', 1, 'cannot start a transaction within a transaction', 'store_unavailable', /used\.$/],
  ['SQLITE_BUSY', 5, '', 'store_unavailable', /another program has locked it/],
  ['SQLITE_BUSY_SNAPSHOT', 517, '', 'store_unavailable', /another program has locked it/],
  ['SQLITE_LOCKED', 6, '', 'store_unavailable', /another program has locked it/],
  ['SQLITE_NOMEM', 7, '', 'store_unavailable', /not enough memory/],
  ['SQLITE_READONLY', 8, '', 'store_unavailable', /it is read-only/],
  ['SQLITE_READONLY_DBMOVED', 1032, '', 'store_unavailable', /moved or replaced/],
  ['SQLITE_READONLY_DIRECTORY', 1544, '', 'store_unavailable', /it is read-only/],
  ['SQLITE_IOERR_READ', 266, '', 'store_unavailable', /the disk reports an error/],
  ['SQLITE_IOERR_WRITE', 778, '', 'store_unavailable', /the disk reports an error/],
  ['SQLITE_IOERR_FSYNC', 1034, '', 'store_unavailable', /the disk reports an error/],
  ['SQLITE_IOERR_NOMEM', 3082, '', 'store_unavailable', /not enough memory/],
  ['SQLITE_IOERR_SHMSIZE', 4874, '', 'store_unavailable', /the disk reports an error/],
  ['SQLITE_FULL', 13, '', 'store_unavailable', /the disk is full/],
  ['SQLITE_CANTOPEN', 14, '', 'store_unavailable', /the file cannot be opened/],
  ['SQLITE_CONSTRAINT_NOTNULL', 1299, '', 'store_unavailable', /used\.$/],
  ['SQLITE_SOMETHING_NEW', 99, '', 'store_unavailable', /used\.$/],
];

describe('an SQLite error', () => {
  it.each(rows)('%s (%i) %s becomes %s', async (_name, code, message, expected, sentence) => {
    const path = join(await tempFolder(), 'sidekey.db');
    const cause = sqliteError(code, message);
    const fault = sqliteFault(path, cause) as SidekeyError;
    expect(fault).toMatchObject({
      code: expected,
      cause,
      message: expect.stringMatching(sentence) as string,
    });
    expect(fault.message).toContain(path);
    // Only a damaged store may be moved away.
    expect(hintText(fault.hint).includes('away')).toBe(expected === 'store_damaged');
  });

  it.each([
    ['SQLITE_CONSTRAINT_UNIQUE', 2067],
    ['SQLITE_CONSTRAINT_PRIMARYKEY', 1555],
  ])('%s (%i) is a duplicate', (_name, code) => {
    expect(sqliteFault('/data/sidekey.db', sqliteError(code))).toBe('duplicate');
  });

  it.each([10, 14, 1544])('%i in a folder that is gone names the folder', async (code) => {
    const path = join(await tempFolder(), 'gone', 'sidekey.db');
    expect(sqliteFault(path, sqliteError(code))).toMatchObject({
      message: `The store at ${path} cannot be used: its folder is gone.`,
    });
  });

  it('of another kind becomes store_unavailable, and a SidekeyError is unchanged', () => {
    expect(sqliteFault('/data/sidekey.db', new TypeError('not open'))).toMatchObject({
      code: 'store_unavailable',
    });
    const own = new SidekeyError('internal', 'Already told.');
    expect(sqliteFault('/data/sidekey.db', own)).toBe(own);
  });
});

it.each(['ENOSPC', 'EDQUOT', 'EROFS', 'EIO', 'EMFILE'])(
  'a file that %s keeps from being written has a hint about the machine, not about permissions',
  (code) => {
    const cause = Object.assign(new Error(code), { code, syscall: 'write', errno: -1 });
    const { hint } = new SidekeyError('file_unwritable', 'It cannot be written.', { hint: 'chmod', cause });
    expect(hint).not.toBe('chmod');
    expect(sqliteFault('/data/sidekey.db', cause)).toMatchObject({ code: 'store_unavailable', hint });
  },
);
