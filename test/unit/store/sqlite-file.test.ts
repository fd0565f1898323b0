import { execFile } from 'node:child_process';
import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Kysely } from 'kysely';
import { describe, expect, it } from 'vitest';
import {
  applicationId,
  openSqliteFile,
  openSqliteStore,
  sqliteMigrations,
} from '../../../src/store/sqlite.ts';
import { grantRecord } from '../../support/grant-record.ts';
import { tempFolder } from '../../support/temp-folder.ts';

const now = (): number => 1_700_000_000_000;
import { pragma } from '../../../src/lib/sqlite.ts';

/** The migrations of a later version. */
const later = {
  ...sqliteMigrations,
  '9999-note': {
    async up(db: Kysely<unknown>): Promise<void> {
      await db.schema.alterTable('grants').addColumn('note', 'text').execute();
    },
  },
};

describe('the database file', () => {
  it('syncs at every commit, uses WAL, and has Sidekey’s application id', async () => {
    const database = await openSqliteFile(join(await tempFolder(), 'sidekey.db'), {
      migrations: sqliteMigrations,
      busyTimeoutMs: 2_000,
    });
    expect(pragma(database, 'synchronous')).toBe(2);
    expect(pragma(database, 'fullfsync')).toBe(1);
    expect(pragma(database, 'journal_mode')).toBe('wal');
    expect(pragma(database, 'foreign_keys')).toBe(1);
    expect(pragma(database, 'trusted_schema')).toBe(0);
    expect(pragma(database, 'application_id')).toBe(applicationId);
    expect(pragma(database, 'busy_timeout')).toBe(2_000);
    database.close();
  });

  it('is created once by concurrent opens, without a temporary file', async () => {
    const folder = await tempFolder();
    const path = join(folder, 'sidekey.db');
    const stores = await Promise.all(Array.from({ length: 8 }, () => openSqliteStore(path, { now })));
    const names = stores.map((_, index) => `grant-${index}`);
    await Promise.all(
      stores.map((store, index) => store.grants.insert(grantRecord({ name: `grant-${index}` }))),
    );
    for (const store of stores) {
      expect((await store.grants.find({})).map((grant) => grant.name)).toEqual(names);
      await store.close();
    }
    expect(await readdir(folder)).toEqual(['sidekey.db']);
  });

  it('is used and not overwritten when another process has created it', async () => {
    const folder = await tempFolder();
    const path = join(folder, 'sidekey.db');
    const record = grantRecord();
    let overtake = true;
    const overtaken = {
      ...sqliteMigrations,
      '0001-first': {
        up: async (db: Kysely<unknown>): Promise<void> => {
          await sqliteMigrations['0001-first']?.up(db);
          if (!overtake) return;
          overtake = false;
          const other = await openSqliteStore(path, { now });
          await other.grants.insert(record);
          await other.close();
        },
      },
    };
    const store = await openSqliteStore(path, { now, migrations: overtaken });
    expect(await store.grants.get(record.id)).toEqual(record);
    await store.close();
    expect(await readdir(folder)).toEqual(['sidekey.db']);
  });

  it('is created once by concurrent processes', async () => {
    const folder = await tempFolder();
    const path = join(folder, 'sidekey.db');
    const script = `
      import { openSqliteStore } from ${JSON.stringify(import.meta.resolve('../../../src/store/sqlite.ts'))};
      const store = await openSqliteStore(process.argv[1], { now: Date.now });
      await store.agents.insert({ name: 'a' + process.pid, user: null, labels: [], disabledAt: null, createdAt: 0 });
      await store.close();
    `;
    const children = Array.from({ length: 4 }, () =>
      promisify(execFile)(process.execPath, ['--input-type=module', '--eval', script, path]),
    );
    await Promise.all(children);
    const store = await openSqliteStore(path, { now });
    expect(await store.agents.list()).toHaveLength(4);
    await store.close();
    expect(await readdir(folder)).toEqual(['sidekey.db']);
  });

  it('that cannot be created is refused with the reason', async () => {
    const folder = await tempFolder();
    await writeFile(join(folder, 'file'), '');
    await expect(openSqliteStore(join(folder, 'file', 'data', 'sidekey.db'), { now })).rejects.toMatchObject({
      code: 'file_unwritable',
    });
    expect((await stat(join(folder, 'file'))).size).toBe(0);
  });

  it.each([' sidekey.db ', 'side?key#100%.db', ':memory:', 'é.db'])(
    'may have any name, such as %j',
    async (name) => {
      const folder = await tempFolder();
      await (await openSqliteStore(join(folder, name), { now })).close();
      expect(await readdir(folder)).toEqual([name]);
    },
  );

  it('is closed after every refusal', async () => {
    const path = join(await tempFolder(), 'sidekey.db');
    await (await openSqliteStore(path, { now, migrations: later })).close();
    await expect(openSqliteStore(path, { now })).rejects.toMatchObject({ code: 'store_newer' });
    const store = await openSqliteStore(path, { now, migrations: later });
    await store.close();
    expect(await readdir(join(path, '..'))).toEqual(['sidekey.db']);
  });
});

describe('a schema migration', () => {
  it('keeps the records of the store', async () => {
    const path = join(await tempFolder(), 'sidekey.db');
    const old = await openSqliteStore(path, { now });
    const record = grantRecord();
    await old.grants.insert(record);
    await old.close();
    const store = await openSqliteStore(path, { now, migrations: later });
    expect(await store.grants.get(record.id)).toMatchObject(record);
    await store.close();
    await expect(openSqliteStore(path, { now })).rejects.toMatchObject({ code: 'store_newer' });
  });

  it('runs once when several connections open the store', async () => {
    const path = join(await tempFolder(), 'sidekey.db');
    await (await openSqliteStore(path, { now })).close();
    let runs = 0;
    const counted = {
      ...later,
      '9999-note': {
        up: async (db: Kysely<unknown>): Promise<void> => {
          runs += 1;
          await later['9999-note'].up(db);
        },
      },
    };
    const stores = await Promise.all(
      Array.from({ length: 5 }, () => openSqliteStore(path, { now, migrations: counted })),
    );
    expect(runs).toBe(1);
    for (const store of stores) await store.close();
  });

  it('that fails halfway leaves the store unchanged', async () => {
    const path = join(await tempFolder(), 'sidekey.db');
    const record = grantRecord();
    const old = await openSqliteStore(path, { now });
    await old.grants.insert(record);
    await old.close();
    const before = await readFile(path);
    const broken = {
      ...later,
      '0003-broken': { up: () => Promise.reject(new Error('no such thing')) },
    };
    await expect(openSqliteStore(path, { now, migrations: broken })).rejects.toMatchObject({
      code: 'store_unavailable',
    });
    expect((await readFile(path)).equals(before)).toBe(true);
    const store = await openSqliteStore(path, { now });
    expect(await store.grants.get(record.id)).toEqual(record);
    await store.close();
  });
});
