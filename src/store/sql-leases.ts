/** The queries for leases. */
import type { Kysely, UpdateQueryBuilder } from 'kysely';
import { leaseStanding } from '../grants/lease.ts';
import { allGrants, fromLeaseRow, toLeaseRow } from './rights-row.ts';
import type { LeaseChoice, LeaseStore } from './rights.ts';
import type { Schema } from './schema.ts';
import { isAgent } from './sql-agents.ts';
import type { Change, Run } from './sql-change.ts';

/** What `LeaseStore` says. */
export function sqlLeases(db: Kysely<Schema>, run: Run, change: Change): LeaseStore {
  return {
    insert: (lease) =>
      change(async (inside) => {
        if (!(await isAgent(inside, lease.agent))) return false;
        await inside.insertInto('leases').values(toLeaseRow(lease)).execute();
        return true;
      }),
    get: (id) =>
      run(async () => {
        const row = await db.selectFrom('leases').selectAll().where('id', '=', id).executeTakeFirst();
        return row === undefined ? null : fromLeaseRow(row);
      }),
    list: () => run(async () => (await allLeases(db).execute()).map(fromLeaseRow)),
    renew: (id, { at, expiresAt, moreUses }) =>
      change(async (inside) => {
        const before = await inside.selectFrom('leases').selectAll().where('id', '=', id).executeTakeFirst();
        // What people approved for as long as a lease has ended with it, and does not come back.
        if (before !== undefined && leaseStanding(fromLeaseRow(before), at).state !== 'active')
          await endApprovals(inside, id);
        const row = await inside
          .updateTable('leases')
          .set((lease) => ({
            renewed_at: at,
            expires_at: expiresAt,
            max_uses: lease('max_uses', '+', moreUses),
          }))
          .where('id', '=', id)
          .where('revoked_at', 'is', null)
          .returningAll()
          .executeTakeFirst();
        return row === undefined ? null : fromLeaseRow(row);
      }),
    revoke: (which, at) =>
      change(async (inside) => {
        const query = inside
          .updateTable('leases')
          .set({ revoked_at: at })
          .where('revoked_at', 'is', null)
          .returning('id');
        const ids = (await choose(query, which).execute()).map(({ id }) => id);
        // What people approved for as long as a lease ends with it. One by one: there may be any number of ids.
        for (const id of ids) await endApprovals(inside, id);
        return ids;
      }),
    use: (id, at) =>
      // No change of a right: others learn of it from their own count, and the last use is refused right here.
      run(async () => {
        const row = await db
          .updateTable('leases')
          .set((lease) => ({ uses: lease('uses', '+', 1), used_at: at }))
          .where('id', '=', id)
          .where('revoked_at', 'is', null)
          .where('expires_at', '>', at)
          .where((lease) =>
            lease.or([lease('max_uses', 'is', null), lease('uses', '<', lease.ref('max_uses'))]),
          )
          .returning('uses')
          .executeTakeFirst();
        return row?.uses ?? null;
      }),
    removeEnded: (before) =>
      change(async (inside) => {
        await inside.deleteFrom('leases').where('expires_at', '<', before).execute();
      }),
  };
}

/** Ends what people approved under a lease. */
async function endApprovals(inside: Kysely<Schema>, lease: string): Promise<void> {
  await inside.updateTable('questions').set({ stands: 0 }).where('lease', '=', lease).execute();
}

/** All leases, in order of creation. */
export function allLeases(from: Kysely<Schema>) {
  return from.selectFrom('leases').selectAll().orderBy('created_at').orderBy('id');
}

/** Where a query of leases is to act. The ids of grants stand in JSON, each in its quotes, and hold no wildcard. */
function choose(
  query: UpdateQueryBuilder<Schema, 'leases', 'leases', Pick<Schema['leases'], 'id'>>,
  which: LeaseChoice,
) {
  if ('id' in which) return query.where('id', '=', which.id);
  if ('agent' in which) return query.where('agent', '=', which.agent);
  return query.where((row) =>
    row.or([row('grants', 'like', `%${JSON.stringify(which.grant)}%`), row('grants', '=', allGrants)]),
  );
}
