import Database from 'better-sqlite3';
import { describe, expect, it } from 'vitest';
import { SidekeyError } from '../../../src/lib/errors.ts';
import { sqliteFault } from '../../../src/store/sqlite.ts';

const meaningOf = (code: string): string => {
  const cause = new Database.SqliteError('detail', code);
  const meaning = sqliteFault('/data/sidekey.db', cause);
  if (meaning === 'duplicate') return meaning;
  expect(meaning.cause).toBe(cause);
  expect(meaning.message).toContain('/data/sidekey.db');
  return meaning.code;
};

describe('an SQLite error', () => {
  it.each([
    ['SQLITE_CONSTRAINT_UNIQUE', 'duplicate'],
    ['SQLITE_CONSTRAINT_PRIMARYKEY', 'duplicate'],
    ['SQLITE_CORRUPT', 'store_damaged'],
    ['SQLITE_CORRUPT_INDEX', 'store_damaged'],
    ['SQLITE_NOTADB', 'store_damaged'],
    ['SQLITE_ERROR', 'store_damaged'],
    ['SQLITE_BUSY', 'store_unavailable'],
    ['SQLITE_BUSY_SNAPSHOT', 'store_unavailable'],
    ['SQLITE_IOERR_WRITE', 'store_unavailable'],
    ['SQLITE_FULL', 'store_unavailable'],
    ['SQLITE_CANTOPEN', 'store_unavailable'],
    ['SQLITE_READONLY_DBMOVED', 'store_unavailable'],
    ['SQLITE_CONSTRAINT_NOTNULL', 'store_unavailable'],
    ['SQLITE_SOMETHING_NEW', 'store_unavailable'],
  ])('%s becomes %s', (code, expected) => {
    expect(meaningOf(code)).toBe(expected);
  });

  it('has a hint for known causes', () => {
    const full = sqliteFault('/data/sidekey.db', new Database.SqliteError('detail', 'SQLITE_FULL'));
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
