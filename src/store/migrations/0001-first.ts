import type { Kysely } from 'kysely';
import type { Migration } from 'kysely/migration';
import type { ColumnTypes } from './column-types.ts';

/** The first tables: see `schema.ts` for what the columns mean. */
export function first(types: ColumnTypes): Migration {
  return {
    async up(db: Kysely<unknown>): Promise<void> {
      await db.schema
        .createTable('meta')
        .addColumn('name', 'text', (column) => column.primaryKey().notNull())
        .addColumn('value', types.binary, (column) => column.notNull())
        .execute();
      await db.schema
        .createTable('grants')
        .addColumn('id', 'text', (column) => column.primaryKey().notNull())
        .addColumn('name', 'text', (column) => column.notNull())
        .addColumn('user', 'text', (column) => column.notNull())
        .addColumn('provider', 'text', (column) => column.notNull())
        .addColumn('type', 'text', (column) => column.notNull())
        .addColumn('state', 'text', (column) => column.notNull())
        .addColumn('state_reason', 'text')
        .addColumn('scopes', 'text', (column) => column.notNull())
        .addColumn('expires_at', 'bigint')
        .addColumn('refreshable', 'integer', (column) => column.notNull())
        .addColumn('revision', 'bigint', (column) => column.notNull())
        .addColumn('created_at', 'bigint', (column) => column.notNull())
        .addColumn('updated_at', 'bigint', (column) => column.notNull())
        .addColumn('sealed', types.binary, (column) => column.notNull())
        .addUniqueConstraint('grants_user_name', ['user', 'name'])
        .execute();
      await db.schema
        .createTable('agents')
        .addColumn('name', 'text', (column) => column.primaryKey().notNull())
        .addColumn('token_hash', types.binary, (column) => column.notNull())
        .addColumn('created_at', 'bigint', (column) => column.notNull())
        .execute();
      await db.schema
        .createTable('locks')
        .addColumn('name', 'text', (column) => column.primaryKey().notNull())
        .addColumn('holder', 'text', (column) => column.notNull())
        .addColumn('expires_at', 'bigint', (column) => column.notNull())
        .execute();
    },
  };
}
