import { type Kysely, sql } from 'kysely';
import { type Migrations, migrations } from './migrations.ts';
import { channel } from './postgres-epoch.ts';

/** The migrations of a PostgreSQL store. */
export const postgresMigrations: Migrations = {
  ...migrations({ binary: 'bytea' }),
  '0013-postgres': {
    async up(db: Kysely<unknown>): Promise<void> {
      await sql`
        create function sidekey_tell() returns trigger language plpgsql as $$
        begin
          perform pg_notify(${sql.lit(channel)}, '');
          return null;
        end $$
      `.execute(db);
      for (const [table, events] of Object.entries(told)) {
        await sql`
          create trigger sidekey_tell after ${sql.raw(events)} on ${sql.table(table)}
          for each statement execute function sidekey_tell()
        `.execute(db);
      }
      // The usage of the limits of rules (`quota/nodes-quota.ts`).
      await db.schema
        .createTable('counts')
        .addColumn('name', 'text', (column) => column.primaryKey().notNull())
        .addColumn('at', 'bigint', (column) => column.notNull())
        .addColumn('used', 'bigint', (column) => column.notNull())
        .addColumn('unit', 'bigint', (column) => column.notNull())
        .addColumn('bytes', 'bigint', (column) => column.notNull())
        .addColumn('stale', 'bigint', (column) => column.notNull())
        .execute();
      await db.schema.createIndex('counts_stale').on('counts').column('stale').execute();
    },
  },
};

const all = 'insert or update or delete';

/** The writes that processes hear of. Frequent ones that change no decision are not among them. */
const told: Readonly<Record<string, string>> = {
  grants: all,
  agents: all,
  agent_tokens: 'insert or delete or update of expires_at, revoked_at',
  bindings: all,
  leases: 'insert or delete or update of expires_at, max_uses, revoked_at',
  grant_policies: all,
  questions: 'insert or delete or update of answer, stands, until',
  proposals: all,
  api_keys: 'insert or delete or update of role, scopes, "user", person, expires_at, hash',
  people: all,
};
