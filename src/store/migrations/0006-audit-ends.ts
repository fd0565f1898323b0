import type { Kysely } from 'kysely';
import type { Migration } from 'kysely/migration';
import type { ColumnTypes } from './column-types.ts';

/** How far the chains of audit logs were written: see `schema.ts` for what the columns mean. */
export function auditEnds(types: ColumnTypes): Migration {
  return {
    async up(db: Kysely<unknown>): Promise<void> {
      await db.schema
        .createTable('audit_ends')
        .addColumn('log', 'text', (column) => column.notNull())
        .addColumn('node', 'text', (column) => column.notNull())
        .addColumn('seq', 'bigint', (column) => column.notNull())
        .addColumn('sealed', types.binary, (column) => column.notNull())
        .addPrimaryKeyConstraint('audit_ends_key', ['log', 'node'])
        .execute();
    },
  };
}
