import { type Expression, type Kysely, sql } from 'kysely';
import { SidekeyError } from '../lib/errors.ts';
import type { Run } from './agents.ts';
import { type Schema, unsynced } from './schema.ts';
import type { Store } from './store.ts';

/**
 * Maximum duration of a lock in milliseconds. A lock with a later end was taken before the clock was set
 * back, and counts as expired. Otherwise a process with a fast clock could block the others for hours.
 */
const maxLockMs = 300_000;

/** @param clock milliseconds since the epoch, the same for all processes of the store */
export function sqlLocks(db: Kysely<Schema>, run: Run, clock: () => Expression<number>): Store['locks'] {
  return {
    acquire: (name, holder, ttlMs) =>
      run(async () => {
        const lock = { holder, expiresAt: endOfLock(clock(), ttlMs) };
        const time = clock();
        // A single statement, so that no other process can write in between.
        const result = await db
          .insertInto('locks')
          .values({ name, ...lock })
          .onConflict((conflict) =>
            conflict
              .column('name')
              .doUpdateSet(lock)
              .where((row) =>
                row.or([
                  row('locks.holder', '=', holder),
                  row('locks.expiresAt', '<=', time),
                  row('locks.expiresAt', '>', sql<number>`${time} + ${sql.lit(maxLockMs)}`),
                ]),
              ),
          )
          .modifyEnd(unsynced)
          .executeTakeFirstOrThrow();
        return result.numInsertedOrUpdatedRows === 1n;
      }),
    renew: (name, holder, ttlMs) =>
      run(async () => {
        const result = await db
          .updateTable('locks')
          .set({ expiresAt: endOfLock(clock(), ttlMs) })
          .where('name', '=', name)
          .where('holder', '=', holder)
          .modifyEnd(unsynced)
          .executeTakeFirstOrThrow();
        return result.numUpdatedRows === 1n;
      }),
    look: (name) =>
      run(async () => {
        const row = await db
          .selectFrom('locks')
          .select(['holder', sql<number>`expires_at - ${clock()}`.as('leftMs')])
          .where('name', '=', name)
          .executeTakeFirst();
        return row ?? null;
      }),
    release: (name, holder) =>
      run(async () => {
        await db
          .deleteFrom('locks')
          .where('name', '=', name)
          .where('holder', '=', holder)
          .modifyEnd(unsynced)
          .execute();
      }),
  };
}

function endOfLock(time: Expression<number>, ttlMs: number): Expression<number> {
  if (ttlMs > 0 && ttlMs <= maxLockMs) return sql<number>`${time} + ${sql.lit(Math.ceil(ttlMs))}`;
  throw new SidekeyError('internal', `A lock lasts between 1 and ${maxLockMs} ms, not ${ttlMs}.`);
}
