import { sql } from 'kysely';
import { openPostgresStore } from '../../src/store/postgres.ts';
import type { Store } from '../../src/store/store.ts';
import type { StoreUnderTest } from '../conformance/store.ts';
import { createDatabase, type PostgresDatabase } from './postgres.ts';

/** Databases with an empty store that no test uses. To empty one takes less time than to create one. */
const free: PostgresDatabase[] = [];

/** Rows that the migrations insert: the progress of migrations, and the first revision of rights. */
const kept = ['kysely_migration', 'kysely_migration_lock', 'revisions'];

async function makeDatabase(): Promise<PostgresDatabase> {
  const database = await createDatabase();
  await (await openPostgresStore({ address: database.address, password: null }, { now: () => 0 })).close();
  return database;
}

/** Removes all rows that were added since the migrations. */
async function empty({ query }: PostgresDatabase): Promise<void> {
  const { rows } = await query(
    `select quote_ident(relname) as name from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace`,
  );
  const tables = (rows as { name: string }[]).filter(({ name }) => !kept.includes(name));
  await query(`
    begin;
    -- Without triggers and the order of foreign keys.
    set local session_replication_role = replica;
    ${tables.map(({ name }) => `delete from ${name};`).join('\n')}
    delete from revisions where name <> 'rights';
    update revisions set value = 1;
    commit`);
}

/**
 * An empty store in PostgreSQL, whose locks take the time from `now`, and a function that opens more
 * connections.
 */
export async function postgresUnderTest(now: () => number): Promise<StoreUnderTest> {
  const database = free.pop() ?? (await makeDatabase());
  const { address } = database;
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
      await empty(database);
      free.push(database);
    },
  };
}
