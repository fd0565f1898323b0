import { type Expression, type Kysely, sql } from 'kysely';
import { SidekeyError } from '../lib/errors.ts';
import { done, first, type Run, written } from './queries.ts';
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
        const insertion = db
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
          .modifyEnd(unsynced);
        return (await written(insertion)) === 1;
      }),
    renew: (name, holder, ttlMs) =>
      run(async () => {
        const update = db
          .updateTable('locks')
          .set({ expiresAt: endOfLock(clock(), ttlMs) })
          .where('name', '=', name)
          .where('holder', '=', holder)
          .modifyEnd(unsynced);
        return (await written(update)) === 1;
      }),
    look: (name) =>
      run(() => {
        const leftMs = sql<number>`expires_at - ${clock()}`.as('leftMs');
        return first(db.selectFrom('locks').select(['holder', leftMs]).where('name', '=', name));
      }),
    release: (name, holder) =>
      run(() => {
        const lock = db.deleteFrom('locks').where('name', '=', name).where('holder', '=', holder);
        return done(lock.modifyEnd(unsynced));
      }),
  };
}

function endOfLock(time: Expression<number>, ttlMs: number): Expression<number> {
  if (ttlMs > 0 && ttlMs <= maxLockMs) return sql<number>`${time} + ${sql.lit(Math.ceil(ttlMs))}`;
  throw new SidekeyError('internal', `A lock lasts between 1 and ${maxLockMs} ms, not ${ttlMs}.`);
}
