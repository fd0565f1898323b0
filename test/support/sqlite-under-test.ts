import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openSqliteStore } from '../../src/store/sqlite.ts';
import type { Store } from '../../src/store/store.ts';
import type { StoreUnderTest } from '../conformance/store.ts';

/** A new empty SQLite store, and a function that opens more connections to it. */
export async function sqliteUnderTest(now: () => number): Promise<StoreUnderTest> {
  const folder = await mkdtemp(join(tmpdir(), 'sidekey-'));
  const opened: Store[] = [];
  const open = async (): Promise<Store> => {
    const store = await openSqliteStore(join(folder, 'data', 'sidekey.db'), { now });
    opened.push(store);
    return store;
  };
  return {
    store: await open(),
    second: open,
    // The first call of `epoch` after a pause sees all writes.
    epochWithinMs: 0,
    cleanup: async () => {
      for (const store of opened) await store.close();
      await rm(folder, { recursive: true });
    },
  };
}
