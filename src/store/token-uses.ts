import type { ExpressionBuilder, Kysely } from 'kysely';
import { all, done, pageOf, type Run } from './queries.ts';
import type { Schema } from './schema.ts';
import type { Store, TokenUse } from './store.ts';

/** Milliseconds after which a use of a token is forgotten if its grant has another token by then. */
const forgetAfterMs = 3_600_000;

/** Queries for the users of access tokens. */
export function sqlTokenUses(db: Kysely<Schema>, run: Run): Store['tokenUses'] {
  return {
    note: ({ grantId, token, lease }, at) =>
      run(() =>
        db.transaction().execute(async (inside) => {
          await inside
            .insertInto('tokenUses')
            .values({ grantId, token, lease: lease ?? '', notedAt: at, attempts: 0, dueAt: null })
            .onConflict((conflict) => conflict.columns(['grantId', 'token', 'lease']).doNothing())
            .execute();
          const others = inside.deleteFrom('tokenUses').where('grantId', '=', grantId);
          await others
            .where('token', '!=', token)
            .where('notedAt', '<', at - forgetAfterMs)
            .execute();
        }),
      ),
    list: (token) =>
      run(() => {
        const rows = db.selectFrom('tokenUses').selectAll();
        return all(token === undefined ? rows : rows.where('token', '=', token), fromRow);
      }),
    ofLeases: (page) => run(() => all(usesOfLeases(db, page), fromRow)),
    retry: (use, attempts, dueAt) =>
      run(() => done(db.updateTable('tokenUses').set({ attempts, dueAt }).where(isOf(use)))),
    remove: (use) => run(() => done(db.deleteFrom('tokenUses').where(isOf(use)))),
  };
}

/** Returns rows of uses by an index of `0030-grants-of-leases`. */
export function usesOfLeases(
  db: Kysely<Schema>,
  { lease, after, limit }: Parameters<Store['tokenUses']['ofLeases']>[0],
) {
  const rows = db.selectFrom('tokenUses').selectAll();
  const query = lease === undefined ? rows.where('lease', '>', '') : rows.where('lease', '=', lease);
  const place = after && [after.lease ?? '', after.grantId, after.token];
  return pageOf(query, ['lease', 'grantId', 'token'], place, limit);
}

function fromRow(row: Schema['tokenUses']): TokenUse {
  return { ...row, lease: row.lease || null };
}

/** Restricts a statement to the row of a use. */
function isOf({ grantId, token, lease }: TokenUse) {
  return (row: ExpressionBuilder<Schema, 'tokenUses'>) => row.and({ grantId, token, lease: lease ?? '' });
}
