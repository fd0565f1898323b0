import type { Kysely, Transaction } from 'kysely';
import type { SidekeyError } from '../errors.ts';
import type { Schema } from './schema.ts';

/** Runs a query of an open store; `duplicate` says what a unique constraint that was violated means. */
export type Run = <Result>(query: () => Promise<Result>, duplicate?: () => SidekeyError) => Promise<Result>;

/** Runs a change of a right: all of it happens, or nothing. */
export type Change = <Result>(
  write: (inside: Transaction<Schema>) => Promise<Result>,
  duplicate?: () => SidekeyError,
) => Promise<Result>;

/**
 * Every change of a right goes through here, so that nobody who keeps rights in memory misses one. The revision comes
 * first: it takes the lock for writing, so what is read after it is not changed by others.
 */
export function rightsChange(db: Kysely<Schema>, run: Run): Change {
  return (write, duplicate) =>
    run(
      () =>
        db.transaction().execute(async (inside) => {
          await inside
            .updateTable('revisions')
            .set((row) => ({ value: row('value', '+', 1) }))
            .where('name', '=', 'rights')
            .execute();
          return write(inside);
        }),
      duplicate,
    );
}

/** How often rights were changed. */
export async function rightsRevision(db: Kysely<Schema>): Promise<number> {
  const row = await db
    .selectFrom('revisions')
    .select('value')
    .where('name', '=', 'rights')
    .executeTakeFirstOrThrow();
  return row.value;
}
