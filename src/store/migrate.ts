import type { Kysely } from 'kysely';
import { DEFAULT_MIGRATION_TABLE, Migrator } from 'kysely/migration';
import type { Migrations } from './migrations/migrations.ts';
import type { Schema } from './schema.ts';

/**
 * How the schema of a store stands to what this program knows.
 * - `none`: no migration was ever run: not a store.
 * - `behind`: an older version's; `migrate` brings it up to date.
 * - `newer`: a migration was run that this program has never heard of.
 */
export type SchemaState = 'none' | 'behind' | 'current' | 'newer';

/** Reads which migrations were run. Throws what the driver throws where there is no table of them. */
export async function schemaState(db: Kysely<Schema>, known: Migrations): Promise<SchemaState> {
  const rows = await db
    .withTables<{ [DEFAULT_MIGRATION_TABLE]: { name: string } }>()
    .selectFrom(DEFAULT_MIGRATION_TABLE)
    .select('name')
    .execute();
  const executed = new Set(rows.map((row) => row.name));
  if (executed.size === 0) return 'none';
  if ([...executed].some((name) => !Object.hasOwn(known, name))) return 'newer';
  return Object.keys(known).every((name) => executed.has(name)) ? 'current' : 'behind';
}

/**
 * Runs the migrations that are missing. It opens no transaction: the caller has one, or a database that nobody else
 * can see yet. Throws what went wrong; the caller rolls back.
 */
export async function migrate(db: Kysely<Schema>, known: Migrations): Promise<void> {
  const migrator = new Migrator({ db, provider: { getMigrations: () => Promise.resolve({ ...known }) } });
  const { error } = await migrator.migrateToLatest();
  if (error !== undefined) throw error;
}
