import type { Kysely } from 'kysely';
import type { Migration } from 'kysely/migration';

/** The query of a request that waits for a person. */
export function approvalQuery(): Migration {
  return {
    async up(db: Kysely<unknown>): Promise<void> {
      await db.schema.alterTable('questions').addColumn('query', 'text').execute();
    },
  };
}
