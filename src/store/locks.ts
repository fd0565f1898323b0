import { type Expression, type Kysely, sql } from 'kysely';
import { SidekeyError } from '../lib/errors.ts';
import { fromGrantRow } from './grants.ts';
import { done, first, releaseOf, type Run, written } from './queries.ts';
import { type GrantRow, type Schema, unsynced } from './schema.ts';
import type { LockedGrant, Store } from './store.ts';

/**
 * Maximum duration of a lock in milliseconds. A lock with a later end was taken before the clock was set
 * back, and counts as expired. Otherwise a process with a fast clock could block the others for hours.
 */
const maxLockMs = 300_000;

/**
 * @param clock milliseconds since the epoch, the same for all processes of the store
 * @param writesInWith the database takes writes in WITH, so a lock and its grant are one statement
 */
export function sqlLocks(
  db: Kysely<Schema>,
  run: Run,
  { clock, writesInWith }: { readonly clock: () => Expression<number>; readonly writesInWith: boolean },
): Store['locks'] {
  /** A single statement, so that no other process can write in between. */
  function insertion(name: string, holder: string, ttlMs: number, silentMs = 0) {
    const lock = { holder, expiresAt: endOfLock(clock(), ttlMs) };
    const time = clock();
    return db
      .insertInto('locks')
      .values({ name, ...lock })
      .onConflict((conflict) =>
        conflict
          .column('name')
          .doUpdateSet(lock)
          .where((row) =>
            row.or([
              row('locks.holder', '=', holder),
              row('locks.expiresAt', '<=', sql<number>`${time} - ${sql.lit(silentMs)}`),
              row('locks.expiresAt', '>', sql<number>`${time} + ${sql.lit(maxLockMs)}`),
            ]),
          ),
      );
  }

  return {
    acquire: (name, holder, ttlMs) =>
      run(async () => (await written(insertion(name, holder, ttlMs).modifyEnd(unsynced))) === 1),
    acquireFor: (grantId, { name, holder, ttlMs, silentMs }) =>
      run(async () => {
        const taking = insertion(name, holder, ttlMs, silentMs);
        if (!writesInWith) {
          if ((await written(taking.modifyEnd(unsynced))) !== 1) return null;
          const row = await db
            .selectFrom('grants')
            .where('id', '=', grantId)
            .leftJoin('grantActivity', 'grantActivity.grantId', 'grants.id')
            .selectAll('grants')
            .select(outcomeColumns)
            .executeTakeFirst();
          return lockedGrant(row);
        }
        // The snapshot may be older than the commit of the previous holder. FOR NO KEY UPDATE returns the
        // latest version of the row, once `taken` has a row.
        const row = await db
          .with('taken', () => taking.returning(sql<string>`${grantId}`.as('lockedId')))
          .selectFrom('taken')
          .leftJoinLateral(
            (inside) =>
              inside
                .selectFrom('grants')
                .whereRef('grants.id', '=', 'taken.lockedId')
                .selectAll()
                .forNoKeyUpdate()
                .as('grants'),
            (join) => join.onTrue(),
          )
          .leftJoin('grantActivity', 'grantActivity.grantId', 'grants.id')
          .selectAll('grants')
          .select(outcomeColumns)
          .executeTakeFirst();
        return row === undefined ? null : lockedGrant(row);
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
    release: (name, holder) => run(() => done(releaseOf(db, { name, holder }).modifyEnd(unsynced))),
  };
}

const outcomeColumns = ['refreshedAt', 'failedAt', 'failure'] as const;
type Outcome = LockedGrant['activity'];

/** @param row undefined, or with a null ID: there is no such grant */
function lockedGrant(row: ({ readonly id: string | null } & Outcome) | undefined): LockedGrant {
  const { refreshedAt = null, failedAt = null, failure = null, ...grant } = row ?? { id: null };
  const record = grant.id === null ? null : fromGrantRow(grant as GrantRow);
  return { record, activity: { refreshedAt, failedAt, failure } };
}

function endOfLock(time: Expression<number>, ttlMs: number): Expression<number> {
  if (ttlMs > 0 && ttlMs <= maxLockMs) return sql<number>`${time} + ${sql.lit(Math.ceil(ttlMs))}`;
  throw new SidekeyError('internal', `A lock lasts between 1 and ${maxLockMs} ms, not ${ttlMs}.`);
}
