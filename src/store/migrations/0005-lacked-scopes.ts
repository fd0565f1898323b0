import type { Kysely } from 'kysely';
import type { Migration } from 'kysely/migration';

/** Scopes that an upstream missed in a grant: see `schema.ts` for what the columns mean. */
export function lackedScopes(): Migration {
  return {
    async up(db: Kysely<unknown>): Promise<void> {
      // One column a statement: SQLite adds no more at once.
      await db.schema.alterTable('grant_activity').addColumn('lacked_at', 'bigint').execute();
      await db.schema.alterTable('grant_activity').addColumn('lacked', 'text').execute();
    },
  };
}
