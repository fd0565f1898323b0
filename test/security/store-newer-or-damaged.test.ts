import { randomBytes } from 'node:crypto';
import { access, mkdir, readFile, readdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, expect, it } from 'vitest';
import type { FailureCode } from '../../src/lib/failures.ts';
import {
  checkSqliteFile,
  isCheckedInPart,
  openSqliteStore,
  openSqliteTables,
} from '../../src/store/sqlite.ts';
import { grantRecord } from '../support/grant-record.ts';
import { enlarge, garble } from '../support/large-store.ts';
import { tempFolder } from '../support/temp-folder.ts';

const now = (): number => 1_700_000_000_000;

/** A sound, closed store with some pages in it. */
async function someStore(): Promise<string> {
  const path = join(await tempFolder(), 'sidekey.db');
  const store = await openSqliteStore(path, { now });
  for (let index = 0; index < 20; index += 1) {
    await store.grants.insert(grantRecord({ name: `grant-${index}`, sealed: randomBytes(2_000) }));
  }
  await store.close();
  return path;
}

/** A sound, closed store that an open does not read whole. */
async function largeStore(): Promise<string> {
  const path = join(await tempFolder(), 'sidekey.db');
  await enlarge(path, now);
  return path;
}

async function expectLeftAlone(path: string, code: FailureCode): Promise<void> {
  const before = await readFile(path);
  await expect(openSqliteStore(path, { now })).rejects.toMatchObject({
    code,
    message: expect.stringContaining(path),
    hint: expect.any(String),
  });
  expect((await readFile(path)).equals(before)).toBe(true);
}

describe('a store that cannot be read is never treated as empty or written to', () => {
  it('if a newer version wrote it', async () => {
    const path = await someStore();
    const database = new DatabaseSync(path);
    database.exec(`insert into kysely_migration values ('0999-later', '2030-01-01T00:00:00.000Z')`);
    database.close();
    await expectLeftAlone(path, 'store_newer');
  });

  it('if a newer version wrote it and was killed, so that only the log has the latest data', async () => {
    const path = await someStore();
    const newer = new DatabaseSync(path);
    newer.exec(`insert into kysely_migration values ('0999-later', '2030-01-01T00:00:00.000Z')`);
    // Copied under the open connection: what a kill leaves behind.
    const copy = join(await tempFolder(), 'sidekey.db');
    await writeFile(copy, await readFile(path), { mode: 0o600 });
    await writeFile(`${copy}-wal`, await readFile(`${path}-wal`), { mode: 0o600 });
    newer.close();
    const log = await readFile(`${copy}-wal`);
    expect(log.length).toBeGreaterThan(0);
    await expectLeftAlone(copy, 'store_newer');
    expect((await readFile(`${copy}-wal`)).equals(log)).toBe(true);
  });

  it('if it was truncated anywhere', async () => {
    const path = await someStore();
    const whole = await readFile(path);
    for (const length of [
      0,
      1,
      15,
      99,
      100,
      512,
      4_095,
      4_096,
      8_192,
      whole.length - 4_096,
      whole.length - 1,
    ]) {
      await writeFile(path, whole.subarray(0, length));
      await expectLeftAlone(path, 'store_damaged');
    }
  });

  it('if it is empty, and the error reports that', async () => {
    const path = await someStore();
    await writeFile(path, '');
    await expect(openSqliteStore(path, { now })).rejects.toMatchObject({
      code: 'store_damaged',
      message: `The store at ${path} is damaged: the file is empty. It was left as it is.`,
    });
  });

  it('if its header or its pages were overwritten', async () => {
    const path = await someStore();
    const whole = await readFile(path);
    const tail = Buffer.from(whole);
    tail.fill(0, 4_096);
    const garbled = Buffer.from(whole);
    garbled.fill(0xa5, whole.length - 12_288, whole.length - 4_096);
    const header = Buffer.from(whole);
    header.fill(0, 0, 100);
    for (const content of [tail, garbled, header, randomBytes(10_000), Buffer.from('version: 1\nproxy:\n')]) {
      await writeFile(path, content);
      await expectLeftAlone(path, 'store_damaged');
    }
  });

  it('if it is a database of another program, even with the same migration names', async () => {
    const path = join(await tempFolder(), 'sidekey.db');
    await writeFile(path, '', { mode: 0o600 });
    const database = new DatabaseSync(path);
    database.exec('create table kysely_migration (name text, timestamp text)');
    database.exec(`insert into kysely_migration values ('0001-first', '2026-01-01T00:00:00.000Z')`);
    database.close();
    await expectLeftAlone(path, 'store_damaged');
  });

  it('if it has our mark but none of our tables', async () => {
    const path = await someStore();
    const database = new DatabaseSync(path);
    database.exec('delete from kysely_migration');
    database.close();
    await expectLeftAlone(path, 'store_damaged');
    const again = new DatabaseSync(path);
    again.exec('drop table kysely_migration');
    again.close();
    await expectLeftAlone(path, 'store_damaged');
  });

  it('if the database was moved away and only its log remains', async () => {
    const path = await someStore();
    const connection = new DatabaseSync(path);
    connection.exec(`delete from grants`);
    const log = await readFile(`${path}-wal`);
    connection.close();
    await rename(path, `${path}.moved`);
    await writeFile(`${path}-wal`, log, { mode: 0o600 });
    await expect(openSqliteStore(path, { now })).rejects.toMatchObject({ code: 'store_damaged' });
    await expect(access(path)).rejects.toThrow('ENOENT');
    expect((await readFile(`${path}-wal`)).equals(log)).toBe(true);
  });

  it('if its path is a folder', async () => {
    const path = join(await tempFolder(), 'sidekey.db');
    await mkdir(path);
    await expect(openSqliteStore(path, { now })).rejects.toMatchObject({ code: 'store_unavailable' });
    expect(await readdir(path)).toEqual([]);
  });

  it('if it contains a grant with a state that Sidekey never writes', async () => {
    const path = await someStore();
    const store = await openSqliteStore(path, { now });
    const database = new DatabaseSync(path);
    database.exec(`update grants set state = 'usable' where name = 'grant-3'`);
    database.close();
    await expect(store.grants.find({})).rejects.toMatchObject({ code: 'store_damaged' });
    await store.close();
  });

  it('if it is large and a check found damage, until its pages fit together again', async () => {
    const path = await largeStore();
    const whole = await garble(path);
    expect(await isCheckedInPart(path)).toBe(true);
    await (await openSqliteStore(path, { now })).close();
    await expect(checkSqliteFile(path)).rejects.toMatchObject({ code: 'store_damaged' });
    await expectLeftAlone(path, 'store_damaged');
    await writeFile(path, whole);
    await (await openSqliteStore(path, { now })).close();
    expect(await isCheckedInPart(path)).toBe(true);
    await checkSqliteFile(path);
  });

  it('if it is large, damaged, and to be copied or backed up', async () => {
    const path = await largeStore();
    await (await openSqliteTables(path)).close();
    await garble(path);
    expect(await isCheckedInPart(path)).toBe(true);
    await expect(openSqliteTables(path)).rejects.toMatchObject({ code: 'store_damaged' });
  });

  it('if it is large and was truncated', async () => {
    const path = await largeStore();
    const whole = await readFile(path);
    expect(await isCheckedInPart(path)).toBe(true);
    for (const length of [whole.length - 1, whole.length - 4_096, 9_000_000, 9_003_008]) {
      await writeFile(path, whole.subarray(0, length));
      await expectLeftAlone(path, 'store_damaged');
    }
  });

  it('if it is large and damaged, and an older version wrote it', async () => {
    const path = await largeStore();
    await garble(path);
    const older = new DatabaseSync(path);
    older.exec(`delete from kysely_migration where name = (select max(name) from kysely_migration)`);
    older.close();
    await expectLeftAlone(path, 'store_damaged');
  });
});
