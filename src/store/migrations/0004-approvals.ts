import type { Kysely } from 'kysely';
import type { Migration } from 'kysely/migration';

/**
 * Requests that wait for people, and what people said: see `schema.ts` for what the columns mean. They go with the
 * agent, the lease and the grant that they name: who comes later under the same name inherits no yes.
 */
export function approvals(): Migration {
  return {
    async up(db: Kysely<unknown>): Promise<void> {
      await db.schema
        .createTable('questions')
        .addColumn('id', 'text', (column) => column.primaryKey().notNull())
        .addColumn('exchange', 'text', (column) => column.notNull())
        .addColumn('asked_at', 'bigint', (column) => column.notNull())
        .addColumn('expires_at', 'bigint', (column) => column.notNull())
        .addColumn('alive_until', 'bigint', (column) => column.notNull())
        .addColumn('agent', 'text', (column) => column.references('agents.name').onDelete('cascade'))
        .addColumn('lease', 'text', (column) => column.references('leases.id').onDelete('cascade'))
        .addColumn('grant_id', 'text', (column) =>
          column.notNull().references('grants.id').onDelete('cascade'),
        )
        .addColumn('rule_key', 'text', (column) => column.notNull())
        .addColumn('method', 'text', (column) => column.notNull())
        .addColumn('scheme', 'text', (column) => column.notNull())
        .addColumn('authority', 'text', (column) => column.notNull())
        .addColumn('path', 'text', (column) => column.notNull())
        .addColumn('has_query', 'integer', (column) => column.notNull())
        .addColumn('body_bytes', 'bigint')
        .addColumn('grant_name', 'text', (column) => column.notNull())
        .addColumn('grant_user', 'text', (column) => column.notNull())
        .addColumn('provider', 'text', (column) => column.notNull())
        .addColumn('client', 'text', (column) => column.notNull())
        .addColumn('reason', 'text')
        .addColumn('purpose', 'text')
        .addColumn('rule', 'text', (column) => column.notNull())
        .addColumn('rule_name', 'text')
        .addColumn('answered_at', 'bigint')
        .addColumn('answered_by', 'text')
        .addColumn('answer', 'text')
        .addColumn('until', 'bigint')
        .addColumn('stands', 'integer', (column) => column.notNull())
        .execute();
    },
  };
}
