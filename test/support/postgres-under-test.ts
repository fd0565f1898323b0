import { sql } from 'kysely';
import { openPostgresStore } from '../../src/store/postgres.ts';
import type { Store } from '../../src/store/store.ts';
import type { StoreUnderTest } from '../conformance/store.ts';
import { createDatabase } from './postgres.ts';

/** Name of a database with the tables of a store: a copy of it takes less time than the migrations. */
let template: Promise<string> | undefined;

async function makeTemplate(): Promise<string> {
  const { address } = await createDatabase();
  await (await openPostgresStore({ address, password: null }, { now: () => 0 })).close();
  return address.database;
}

/** A new empty store in PostgreSQL, whose locks take the time from `now`, and a function that opens more connections. */
export async function postgresUnderTest(now: () => number): Promise<StoreUnderTest> {
  template ??= makeTemplate();
  const { address, drop } = await createDatabase(await template);
  const opened: Store[] = [];
  const lockClock = () => sql<number>`${sql.lit(Math.ceil(now()))}::bigint`;
  const open = async (): Promise<Store> => {
    const store = await openPostgresStore({ address, password: null }, { now, lockClock, connections: 4 });
    opened.push(store);
    return store;
  };
  return {
    store: await open(),
    second: open,
    epochWithinMs: 1_000,
    cleanup: async () => {
      for (const store of opened) await store.close();
      await drop();
    },
  };
}
