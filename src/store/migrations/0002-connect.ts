import type { Kysely } from 'kysely';
import type { Migration } from 'kysely/migration';
import type { ColumnTypes } from './column-types.ts';

/** Consents that wait for their answer, and what happened to grants: see `schema.ts` for what the columns mean. */
export function connect(types: ColumnTypes): Migration {
  return {
    async up(db: Kysely<unknown>): Promise<void> {
      await db.schema
        .createTable('sessions')
        .addColumn('id', 'text', (column) => column.primaryKey().notNull())
        .addColumn('expires_at', 'bigint', (column) => column.notNull())
        .addColumn('sealed', types.binary, (column) => column.notNull())
        .execute();
      await db.schema
        .createTable('grant_activity')
        // Goes with its grant: a note that comes late brings back nothing of one that was removed.
        .addColumn('grant_id', 'text', (column) =>
          column.primaryKey().notNull().references('grants.id').onDelete('cascade'),
        )
        .addColumn('used_at', 'bigint')
        .addColumn('refreshed_at', 'bigint')
        .addColumn('failed_at', 'bigint')
        .addColumn('failure', 'text')
        .execute();
    },
  };
}
