import { setImmediate as nextTurn } from 'node:timers/promises';
import { type Kysely, sql } from 'kysely';
import type { GrantState } from '../domain/grant.ts';
import { indexGrants } from '../domain/grant-index.ts';
import { fromGrantRow, grantOf, inNameOrder, storedGrants } from './grants.ts';
import { all, first, inBatches, rowsOf, type Run } from './queries.ts';
import type { Schema } from './schema.ts';
import type { GrantRecord, Store } from './store.ts';

/** Rows that one statement counts: at most 3 ms on the thread of the proxy with SQLite. */
const slice = 5_000;
/** Before every time. */
const never = Number.MIN_SAFE_INTEGER;

/** Queries for answers about all grants. None reads more than `slice` entries of an index, and a few rows. */
export function sqlGrantChecks(db: Kysely<Schema>, run: Run): Store['grantChecks'] {
  /** Grants that are not minted, that nothing renews and whose stored token ends in (`after`, `until`]. */
  const ending = (state: GrantState, after: number, until: number) =>
    db
      .selectFrom('grants')
      .where('state', '=', state)
      .where('refreshable', '=', 0)
      .where('parent', 'is', null)
      .where('expiresAt', '>', after)
      .where('expiresAt', '<=', until);

  /** Active grants with a policy that ended in (`after`, `until`], and a token that lives longer. */
  const endedByPolicy = (after: number, until: number) =>
    db
      .selectFrom('grantPolicies as policy')
      .innerJoin('grants', 'grants.id', 'policy.grantId')
      .where('policy.expiresAt', '>', after)
      .where('policy.expiresAt', '<=', until);

  const countEnding = (state: GrantState, after: number, until: number) =>
    inSlices(
      run,
      { after, until },
      (from) => ending(state, from, until).select('expiresAt').orderBy('expiresAt'),
      (from, to) => ending(state, from, to).select(counted),
    );

  const countEndedByPolicy = (at: number) =>
    inSlices(
      run,
      { after: never, until: at, size: slice / 5 },
      (from) => {
        const ended = db.selectFrom('grantPolicies').select('expiresAt').where('expiresAt', '>', from);
        return ended.where('expiresAt', '<=', at).orderBy('expiresAt');
      },
      (from, to) =>
        endedByPolicy(from, to)
          // Not by the index of states, which has all active grants.
          .where((row) => row.fn.coalesce('state', row.val('')), 'in', ['active', 'expired'])
          .where((row) =>
            row.or([
              row('refreshable', '=', 1),
              row('grants.expiresAt', 'is', null),
              row('grants.expiresAt', '>', at),
            ]),
          )
          .select(counted),
    );

  return {
    async count(at) {
      const rows = await run(() => db.selectFrom('grantTotals').selectAll().execute());
      const total = (state: GrantState) =>
        rows.reduce((sum, row) => (row.state === state ? sum + row.total : sum), 0);
      // Not by the index of states, which has all active grants.
      const children = db.selectFrom('grants').where('parent', '>', '');
      const minted = await run(() =>
        rowsOf(children.where((row) => row.fn.coalesce('state', row.val('')), 'in', ['active', 'expired'])),
      );
      const both = total('active') + total('expired') - minted;
      const ended = (await countEnding('active', never, at)) + (await countEnding('expired', never, at));
      const expired = ended + (await countEndedByPolicy(at));
      return {
        active: both - expired,
        expired,
        revoked: total('revoked'),
        reauth_required: total('reauth_required'),
        minted,
      };
    },

    async endings(at, spans) {
      const counts = await countsWithin(at, spans, (after, until) => countEnding('active', after, until));
      const query = ending('active', at, Number.MAX_SAFE_INTEGER).select('expiresAt');
      const next = await run(() => first(query.orderBy('expiresAt').limit(1), (row) => row.expiresAt));
      return { counts, next };
    },

    async concerning(at, { providers, limit }) {
      const grants = () => db.selectFrom('grants').select('grants.id').limit(limit);
      const activity = (column: 'failedAt' | 'lackedAt') =>
        db
          .selectFrom('grantActivity')
          .select('grantId as id')
          .where(column, '>', 0)
          .orderBy(column, 'desc')
          .limit(limit);
      const ids = new Set<string>();
      const queries = [
        ...(['active', 'expired'] as const).map((state) =>
          ending(state, never, at).select('id').orderBy('expiresAt', 'desc').limit(limit),
        ),
        ending('active', at, at + 14 * 86_400_000)
          .select('id')
          .orderBy('expiresAt')
          .limit(limit),
        endedByPolicy(never, at).select('grants.id').orderBy('policy.expiresAt', 'desc').limit(limit),
        grants().where('state', '=', 'reauth_required'),
        grants().where('state', '=', 'revoked'),
        grants().where('type', '=', 'source').where('state', '=', 'active'),
        activity('failedAt'),
        activity('lackedAt'),
        ...providers.map((provider) => grants().where('provider', '=', provider).orderBy('updatedAt')),
      ];
      for (const query of queries) {
        for (const { id } of await run(() => query.execute())) ids.add(id);
        await nextTurn();
      }
      return [...ids];
    },

    async offered(reference, limit) {
      const grants = () => storedGrants(db).limit(limit);
      const records = new Map<string, GrantRecord>();
      for (const query of [
        grants().where('id', '=', reference),
        grants().where('name', '=', reference).orderBy('user'),
        grants().where('provider', '=', reference).where('parent', 'is', null).orderBy('user'),
      ])
        for (const record of await run(() => all(query, fromGrantRow))) records.set(record.id, record);
      const inOrder = [...records.values()].toSorted(inNameOrder);
      return indexGrants(inOrder.map(grantOf)).offered(reference).slice(0, limit);
    },

    async existing(references) {
      const found = new Set<string>();
      await inBatches(references, async (some) => {
        const texts = some.map((each) => sql`(${each})`);
        // Not `= column1`: if all grants have one provider, PostgreSQL reads all instead of the index.
        const isThere = (['id', 'name', 'provider'] as const).map((column) => {
          const name = sql.ref(column);
          return sql`(select ${name} from grants where ${name} >= column1 order by ${name} limit 1) = column1`;
        });
        const query = sql<{ reference: string }>`
          select column1 as reference from (values ${sql.join(texts)}) as texts
          where ${sql.join(isThere, sql` or `)}`;
        for (const { reference } of (await run(() => query.execute(db))).rows) found.add(reference);
        return [];
      });
      return found;
    },
  };
}

/** Queries for `LeaseStore.endings`. */
export async function leaseEndings(
  db: Kysely<Schema>,
  run: Run,
  at: number,
  spans: readonly number[],
): Promise<Awaited<ReturnType<Store['leases']['endings']>>> {
  const ending = (after: number, until: number) =>
    db.selectFrom('leases').where('expiresAt', '>', after).where('expiresAt', '<=', until);
  const count = (after: number, until: number) =>
    inSlices(
      run,
      { after, until },
      (from) => ending(from, until).select('expiresAt').orderBy('expiresAt'),
      (from, to) => ending(from, to).where('revokedAt', 'is', null).select(counted),
    );
  const counts = await countsWithin(at, [...spans, Number.MAX_SAFE_INTEGER - at], count);
  const live = ending(at, Number.MAX_SAFE_INTEGER).where('revokedAt', 'is', null).select('expiresAt');
  const next = await run(() => first(live.orderBy('expiresAt').limit(1), ({ expiresAt }) => expiresAt));
  return { counts: counts.slice(0, -1), next, total: counts.at(-1)! };
}

/** Counts within each of the ascending spans from `at`. */
async function countsWithin(
  at: number,
  spans: readonly number[],
  count: (after: number, until: number) => Promise<number>,
): Promise<number[]> {
  const counts: number[] = [];
  let [sum, after] = [0, at];
  for (const span of spans) {
    sum += await count(after, at + span);
    after = at + span;
    counts.push(sum);
  }
  return counts;
}

interface Ends {
  limit(count: number): Ends;
  offset(count: number): Ends;
  executeTakeFirst(): Promise<{ readonly expiresAt: number | null } | undefined>;
}

/** Counts in slices of `size` ends. @param endsAfter returns the ends from here on, in their order */
async function inSlices(
  run: Run,
  { after, until, size = slice }: { readonly after: number; readonly until: number; readonly size?: number },
  endsAfter: (from: number) => Ends,
  count: (from: number, to: number) => { executeTakeFirstOrThrow(): Promise<{ total: number }> },
): Promise<number> {
  let total = 0;
  for (let from = after; ;) {
    const last = endsAfter(from)
      .limit(1)
      .offset(size - 1);
    const to = await run(() => first(last, ({ expiresAt }) => expiresAt!));
    total += (await run(() => count(from, to ?? until).executeTakeFirstOrThrow())).total;
    if (to === null) return total;
    from = to;
    await nextTurn();
  }
}

const counted = sql<number>`count(*)`.as('total');
