import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { openSqliteStore } from '../../src/store/sqlite.ts';
import { grantRecord } from './grant-record.ts';

/** Adds grants to the store at `path` until an open does not read the file whole: more than 8 MiB. */
export async function enlarge(path: string, now: () => number): Promise<void> {
  const store = await openSqliteStore(path, { now });
  for (let from = 0; from < 9_000; from += 1_000) {
    const names = Array.from({ length: 1_000 }, (_, n) => `grant-${from + n}`);
    const records = names.map((name) => grantRecord({ name, refreshable: false, sealed: randomBytes(900) }));
    await store.grants.insert(...records);
  }
  await store.close();
}

/** Overwrites a page in the middle of a database file. Returns the content before. */
export async function garble(path: string): Promise<Buffer> {
  const whole = await readFile(path);
  const garbled = Buffer.from(whole);
  const middle = Math.floor(whole.length / 8_192) * 4_096;
  garbled.fill(0xa5, middle, middle + 4_096);
  await writeFile(path, garbled);
  return whole;
}
