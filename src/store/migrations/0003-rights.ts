import { randomUUID } from 'node:crypto';
import type { Kysely } from 'kysely';
import type { Migration } from 'kysely/migration';
import type { ColumnTypes } from './column-types.ts';

/** What the migration reads of the tables before it, and writes to those it makes. */
type Tables = {
  agents: { name: string; token_hash: Uint8Array; created_at: number };
  agent_tokens: { id: string; agent: string; label: string; hash: Uint8Array; created_at: number };
  bindings: { agent: string; kind: string; value: string; created_at: number };
  revisions: { name: string; value: number };
};

/**
 * Agents with several tokens, bindings and leases; what people set for grants: see `schema.ts` for what the columns mean.
 * Agents from before keep their token, and get a binding to everything: they go on as they did until a person narrows it.
 */
export function rights(types: ColumnTypes): Migration {
  return {
    async up(untyped: Kysely<unknown>): Promise<void> {
      const db = untyped.withTables<Tables>();
      const agents = await db.selectFrom('agents').selectAll().execute();
      await db.schema.alterTable('agents').dropColumn('token_hash').execute();
      await db.schema.alterTable('agents').addColumn('user', 'text').execute();
      await db.schema
        .alterTable('agents')
        .addColumn('labels', 'text', (column) => column.notNull().defaultTo('[]'))
        .execute();
      await db.schema.alterTable('agents').addColumn('disabled_at', 'bigint').execute();
      await db.schema
        .createTable('agent_tokens')
        .addColumn('id', 'text', (column) => column.primaryKey().notNull())
        .addColumn('agent', 'text', (column) =>
          column.notNull().references('agents.name').onDelete('cascade'),
        )
        .addColumn('label', 'text', (column) => column.notNull())
        .addColumn('hash', types.binary, (column) => column.notNull())
        .addColumn('created_at', 'bigint', (column) => column.notNull())
        .addColumn('expires_at', 'bigint')
        .addColumn('used_at', 'bigint')
        .addColumn('revoked_at', 'bigint')
        .execute();
      await db.schema
        .createTable('bindings')
        .addColumn('agent', 'text', (column) =>
          column.notNull().references('agents.name').onDelete('cascade'),
        )
        .addColumn('kind', 'text', (column) => column.notNull())
        .addColumn('value', 'text', (column) => column.notNull())
        .addColumn('created_at', 'bigint', (column) => column.notNull())
        .addPrimaryKeyConstraint('bindings_key', ['agent', 'kind', 'value'])
        .execute();
      await db.schema
        .createTable('leases')
        .addColumn('id', 'text', (column) => column.primaryKey().notNull())
        .addColumn('agent', 'text', (column) =>
          column.notNull().references('agents.name').onDelete('cascade'),
        )
        .addColumn('token_hash', types.binary, (column) => column.notNull())
        .addColumn('grants', 'text', (column) => column.notNull())
        .addColumn('purpose', 'text', (column) => column.notNull())
        .addColumn('created_at', 'bigint', (column) => column.notNull())
        .addColumn('expires_at', 'bigint', (column) => column.notNull())
        .addColumn('idle_ms', 'bigint')
        .addColumn('renewed_at', 'bigint')
        .addColumn('used_at', 'bigint')
        .addColumn('max_uses', 'bigint')
        .addColumn('uses', 'bigint', (column) => column.notNull())
        .addColumn('revoked_at', 'bigint')
        .execute();
      await db.schema
        .createTable('grant_policies')
        .addColumn('grant_id', 'text', (column) =>
          column.primaryKey().notNull().references('grants.id').onDelete('cascade'),
        )
        .addColumn('expires_at', 'bigint')
        .addColumn('default_ttl_ms', 'bigint')
        .addColumn('max_ttl_ms', 'bigint')
        .addColumn('lease_default_ms', 'bigint')
        .addColumn('lease_max_ms', 'bigint')
        .addColumn('labels', 'text', (column) => column.notNull())
        .execute();
      await db.schema
        .createTable('revisions')
        .addColumn('name', 'text', (column) => column.primaryKey().notNull())
        .addColumn('value', 'bigint', (column) => column.notNull())
        .execute();
      await db.insertInto('revisions').values({ name: 'rights', value: 1 }).execute();
      for (const { name, token_hash, created_at } of agents) {
        await db
          .insertInto('agent_tokens')
          .values({ id: randomUUID(), agent: name, label: 'main', hash: token_hash, created_at })
          .execute();
        await db
          .insertInto('bindings')
          .values({ agent: name, kind: 'everything', value: '*', created_at })
          .execute();
      }
    },
  };
}
