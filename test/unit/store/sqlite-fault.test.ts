import { describe, expect, it } from 'vitest';
import { SidekeyError } from '../../../src/lib/errors.ts';
import { sqliteFault } from '../../../src/store/sqlite.ts';

/** An error as node:sqlite throws it. */
const sqliteError = (errcode: number) =>
  Object.assign(new Error('detail'), { code: 'ERR_SQLITE_ERROR', errcode, errstr: 'detail' });

const meaningOf = (errcode: number): string => {
  const cause = sqliteError(errcode);
  const meaning = sqliteFault('/data/sidekey.db', cause);
  if (meaning === 'duplicate') return meaning;
  expect(meaning.cause).toBe(cause);
  expect(meaning.message).toContain('/data/sidekey.db');
  return meaning.code;
};

describe('an SQLite error', () => {
  it.each([
    ['SQLITE_CONSTRAINT_UNIQUE', 2067, 'duplicate'],
    ['SQLITE_CONSTRAINT_PRIMARYKEY', 1555, 'duplicate'],
    ['SQLITE_CORRUPT', 11, 'store_damaged'],
    ['SQLITE_CORRUPT_INDEX', 779, 'store_damaged'],
    ['SQLITE_NOTADB', 26, 'store_damaged'],
    ['SQLITE_ERROR', 1, 'store_damaged'],
    ['SQLITE_BUSY', 5, 'store_unavailable'],
    ['SQLITE_BUSY_SNAPSHOT', 517, 'store_unavailable'],
    ['SQLITE_IOERR_WRITE', 778, 'store_unavailable'],
    ['SQLITE_FULL', 13, 'store_unavailable'],
    ['SQLITE_CANTOPEN', 14, 'store_unavailable'],
    ['SQLITE_READONLY_DBMOVED', 1032, 'store_unavailable'],
    ['SQLITE_CONSTRAINT_NOTNULL', 1299, 'store_unavailable'],
    ['SQLITE_SOMETHING_NEW', 99, 'store_unavailable'],
  ])('%s (%i) becomes %s', (_name, code, expected) => {
    expect(meaningOf(code)).toBe(expected);
  });

  it('has a hint for known causes', () => {
    const full = sqliteFault('/data/sidekey.db', sqliteError(13));
    expect(full).toMatchObject({
      message: 'The store at /data/sidekey.db cannot be used: the disk is full.',
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
