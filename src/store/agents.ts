import type { Kysely, Transaction, UpdateQueryBuilder } from 'kysely';
import { type Binding, leaseStanding } from '../domain/lease.ts';
import { SidekeyError } from '../lib/errors.ts';
import { hintOf, remedy } from '../lib/hint.ts';
import {
  anyGrant,
  compare,
  fromAgentRow,
  fromBindingRow,
  fromLeaseRow,
  fromPolicyRow,
  noPolicy,
  type Schema,
  toAgentRow,
  toLeaseRow,
  toPolicyRow,
  wrongClockMs,
} from './schema.ts';
import type { LeaseChoice, LeaseStore, Store } from './store.ts';

/** Queries for the rights of agents. Each is one statement or one transaction. */

type RightsParts = Pick<Store, 'agents' | 'agentTokens' | 'bindings' | 'leases' | 'grantPolicies' | 'rights'>;

/** @param now milliseconds since the epoch */
export function sqlRights(db: Kysely<Schema>, run: Run, now: () => number): RightsParts {
  const change = rightsChange(db, run);
  return {
    ...sqlAgents(db, run, change),

    leases: sqlLeases(db, run, change),

    grantPolicies: {
      get: (grantId) =>
        run(async () => {
          const row = await db
            .selectFrom('grantPolicies')
            .selectAll()
            .where('grantId', '=', grantId)
            .executeTakeFirst();
          return row === undefined ? null : fromPolicyRow(row);
        }),
      list: () =>
        run(async () => (await db.selectFrom('grantPolicies').selectAll().execute()).map(fromPolicyRow)),
      set: (grantId, policy) =>
        change(async (inside) => {
          const grant = await inside
            .selectFrom('grants')
            .select('id')
            .where('id', '=', grantId)
            .executeTakeFirst();
          if (grant === undefined) return false;
          const before = await inside
            .selectFrom('grantPolicies')
            .selectAll()
            .where('grantId', '=', grantId)
            .executeTakeFirst();
          const current = before === undefined ? noPolicy(grantId) : fromPolicyRow(before);
          const row = toPolicyRow({ ...current, ...policy, grantId });
          await inside
            .insertInto('grantPolicies')
            .values(row)
            .onConflict((conflict) => conflict.column('grantId').doUpdateSet(row))
            .execute();
          return true;
        }),
    },

    rights: {
      revision: () => run(() => rightsRevision(db)),
      read: (since = 0) =>
        run(async () => {
          for (;;) {
            const revision = await rightsRevision(db);
            const rights = {
              revision,
              agents: (await db.selectFrom('agents').selectAll().execute()).map(fromAgentRow),
              tokens: await allTokens(db).execute(),
              bindings: (await db.selectFrom('bindings').selectAll().execute()).map(fromBindingRow),
              leases: (await allLeases(db).where('expiresAt', '>=', since).execute()).map(fromLeaseRow),
              policies: (await db.selectFrom('grantPolicies').selectAll().execute()).map(fromPolicyRow),
            };
            // Tables read before and after a change could together grant rights that never existed.
            if ((await rightsRevision(db)) === revision) return rights;
          }
        }),
      noteUses: (uses) =>
        run(async () => {
          if (uses.length === 0) return;
          const horizon = Math.ceil(now()) + wrongClockMs;
          // In one order, so that two processes do not wait for each other.
          const ordered = uses.toSorted((a, b) => compare(a.kind, b.kind) || compare(a.id, b.id));
          await db.transaction().execute(async (inside) => {
            for (const { kind, id, at } of ordered) {
              if (kind === 'identity') {
                await inside
                  .insertInto('agentUses')
                  .columns(['id'])
                  .expression(inside.selectFrom('agents').select('name').where('name', '=', id))
                  .onConflict((conflict) => conflict.doNothing())
                  .execute();
              }
              await inside
                .updateTable(useTables[kind])
                .set({ usedAt: at })
                .where('id', '=', id)
                .where((row) =>
                  row.or([
                    row('usedAt', 'is', null),
                    row('usedAt', '<', at),
                    row('usedAt', '>', Math.max(at, horizon)),
                  ]),
                )
                .execute();
            }
          });
        }),
    },
  };
}

const useTables = { token: 'agentTokens', lease: 'leases', identity: 'agentUses' } as const;

/** Queries for leases. */

function sqlLeases(db: Kysely<Schema>, run: Run, change: Change): LeaseStore {
  return {
    insert: (lease) =>
      change(async (inside) => {
        const agents = inside.selectFrom('agents').select('disabledAt').where('name', '=', lease.agent);
        if ((await agents.executeTakeFirst())?.disabledAt !== null) return false;
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
        // Approvals for the lifetime of a lease end with the lease.
        if (before !== undefined && leaseStanding(fromLeaseRow(before), at).state !== 'active')
          await endApprovals(inside, id);
        const row = await inside
          .updateTable('leases')
          .set((lease) => ({ renewedAt: at, expiresAt: expiresAt, maxUses: lease('maxUses', '+', moreUses) }))
          .where('id', '=', id)
          .where('revokedAt', 'is', null)
          .returningAll()
          .executeTakeFirst();
        return row === undefined ? null : fromLeaseRow(row);
      }),
    revoke: (which, at) => change((inside) => revokeLeases(inside, which, at)),
    use: (id, at) =>
      // Counting a use changes no right, so the revision is kept.
      run(async () => {
        const row = await db
          .updateTable('leases')
          .set((lease) => ({ uses: lease('uses', '+', 1), usedAt: at }))
          .where('id', '=', id)
          .where('revokedAt', 'is', null)
          .where('expiresAt', '>', at)
          .where((lease) =>
            lease.or([lease('maxUses', 'is', null), lease('uses', '<', lease.ref('maxUses'))]),
          )
          .returning('uses')
          .executeTakeFirst();
        return row?.uses ?? null;
      }),
    removeEnded: (before) =>
      change(async (inside) => {
        await inside.deleteFrom('leases').where('expiresAt', '<', before).execute();
      }),
  };
}

/** Ends the approvals of a lease, and its accepted proposals. */
async function endApprovals(inside: Kysely<Schema>, lease: string): Promise<void> {
  await inside.updateTable('proposals').set({ until: 0 }).where('lease', '=', lease).execute();
  await inside.updateTable('questions').set({ stands: 0 }).where('lease', '=', lease).execute();
}

function allLeases(from: Kysely<Schema>) {
  return from.selectFrom('leases').selectAll().orderBy('createdAt').orderBy('id');
}

/** Restricts a query to the chosen leases. `like` finds grant ids: JSON strings without wildcards. */
function choose(
  query: UpdateQueryBuilder<Schema, 'leases', 'leases', Pick<Schema['leases'], 'id'>>,
  which: LeaseChoice,
) {
  if ('id' in which) return query.where('id', '=', which.id);
  if ('agent' in which) return query.where('agent', '=', which.agent);
  return query.where((row) =>
    row.or([
      row('grants', 'like', `%${JSON.stringify(which.grant)}%`),
      row('grants', 'like', `[${JSON.stringify(anyGrant[0])}%`),
    ]),
  );
}

/** Queries for agents, their tokens and their bindings. */

type AgentParts = Pick<Store, 'agents' | 'agentTokens' | 'bindings'>;

function sqlAgents(db: Kysely<Schema>, run: Run, change: Change): AgentParts {
  return {
    agents: {
      insert: (agent, { tokens = [], bindings = [] } = {}) =>
        change(
          async (inside) => {
            await inside.insertInto('agents').values(toAgentRow(agent)).execute();
            for (const token of tokens) await inside.insertInto('agentTokens').values(token).execute();
            await addBindings(inside, agent.name, bindings, agent.createdAt);
          },
          () =>
            new SidekeyError('already_exists', `There is an agent named "${agent.name}" already.`, {
              hint: hintOf`Choose another name, or remove it first: ${remedy('agent.remove', { agent: agent.name })}`,
            }),
        ),
      get: (name) =>
        run(async () => {
          const row = await db.selectFrom('agents').selectAll().where('name', '=', name).executeTakeFirst();
          return row === undefined ? null : fromAgentRow(row);
        }),
      list: () =>
        run(async () => {
          const rows = await db.selectFrom('agents').selectAll().execute();
          return rows.map(fromAgentRow).toSorted((a, b) => compare(a.name, b.name));
        }),
      identityUses: () =>
        run(async () => {
          const rows = await db.selectFrom('agentUses').selectAll().execute();
          return new Map(rows.flatMap(({ id, usedAt }) => (usedAt === null ? [] : [[id, usedAt]])));
        }),
      change: (name, { user, labels, disabledAt }) =>
        change(async (inside) => {
          const result = await inside
            .updateTable('agents')
            // Sets the name to itself, because an update needs at least one column.
            .set({
              name,
              ...(user === undefined ? {} : { user }),
              ...(labels === undefined ? {} : { labels: JSON.stringify(labels) }),
              ...(disabledAt === undefined ? {} : { disabledAt: disabledAt }),
            })
            .where('name', '=', name)
            .executeTakeFirstOrThrow();
          // A lease that was suspended must not come back with its agent.
          if (typeof disabledAt === 'number') await revokeLeases(inside, { agent: name }, disabledAt);
          return result.numUpdatedRows === 1n;
        }),
      remove: (name) =>
        change(async (inside) => {
          const result = await inside.deleteFrom('agents').where('name', '=', name).executeTakeFirstOrThrow();
          return result.numDeletedRows === 1n;
        }),
    },

    agentTokens: {
      list: (agent) =>
        run(async () => {
          const query = allTokens(db);
          const rows = await (agent === undefined ? query : query.where('agent', '=', agent)).execute();
          return rows;
        }),
      add: (token, takeOver) =>
        change(async (inside) => {
          if (!(await isAgent(inside, token.agent))) return null;
          let ending = 0n;
          if (takeOver !== null) {
            const { label, at } = takeOver;
            let query = inside
              .updateTable('agentTokens')
              .set({ expiresAt: at })
              .where('agent', '=', token.agent)
              .where('revokedAt', 'is', null)
              .where((row) => row.or([row('expiresAt', 'is', null), row('expiresAt', '>', at)]));
            if (label !== null) query = query.where('label', '=', label);
            ending = (await query.executeTakeFirstOrThrow()).numUpdatedRows;
          }
          await inside.insertInto('agentTokens').values(token).execute();
          return Number(ending);
        }),
      revoke: (agent, label, at) =>
        change(async (inside) => {
          let query = inside
            .updateTable('agentTokens')
            .set({ revokedAt: at })
            .where('agent', '=', agent)
            .where('revokedAt', 'is', null)
            .where((row) => row.or([row('expiresAt', 'is', null), row('expiresAt', '>', at)]));
          if (label !== null) query = query.where('label', '=', label);
          return Number((await query.executeTakeFirstOrThrow()).numUpdatedRows);
        }),
      removeEnded: (before) =>
        change(async (inside) => {
          await inside
            .deleteFrom('agentTokens')
            .where((row) => row.or([row('expiresAt', '<', before), row('revokedAt', '<', before)]))
            .execute();
        }),
    },

    bindings: {
      list: (agent) =>
        run(async () => {
          const query = db.selectFrom('bindings').selectAll();
          const rows = await (agent === undefined ? query : query.where('agent', '=', agent)).execute();
          return rows
            .map(fromBindingRow)
            .toSorted(
              (a, b) => compare(a.agent, b.agent) || compare(a.kind, b.kind) || compare(a.value, b.value),
            );
        }),
      add: (agent, bindings, at) =>
        change(async (inside) =>
          (await isAgent(inside, agent)) ? addBindings(inside, agent, bindings, at) : null,
        ),
      remove: (agent, bindings) =>
        change(async (inside) => {
          let removed = 0n;
          for (const { kind, value } of bindings) {
            const result = await inside
              .deleteFrom('bindings')
              .where('agent', '=', agent)
              .where('kind', '=', kind)
              .where('value', '=', value)
              .executeTakeFirstOrThrow();
            removed += result.numDeletedRows;
          }
          return Number(removed);
        }),
    },
  };
}

function allTokens(from: Kysely<Schema>) {
  return from.selectFrom('agentTokens').selectAll().orderBy('createdAt').orderBy('id');
}

/** Reports whether an agent of this name exists. The write lock of the transaction keeps the result valid. */
async function isAgent(inside: Transaction<Schema>, name: string): Promise<boolean> {
  const row = await inside.selectFrom('agents').select('name').where('name', '=', name).executeTakeFirst();
  return row !== undefined;
}

async function addBindings(
  inside: Transaction<Schema>,
  agent: string,
  bindings: readonly Binding[],
  at: number,
): Promise<number> {
  let added = 0;
  for (const { kind, value } of bindings) {
    const result = await inside
      .insertInto('bindings')
      .values({ agent, kind, value, createdAt: at })
      .onConflict((conflict) => conflict.columns(['agent', 'kind', 'value']).doNothing())
      .executeTakeFirstOrThrow();
    added += Number(result.numInsertedOrUpdatedRows ?? 0n);
  }
  return added;
}

async function revokeLeases(inside: Transaction<Schema>, which: LeaseChoice, at: number): Promise<string[]> {
  const query = inside
    .updateTable('leases')
    .set({ revokedAt: at })
    .where('revokedAt', 'is', null)
    .returning('id');
  const ids = (await choose(query, which).execute()).map(({ id }) => id);
  // Approvals for a lease end with it. One statement per id, because their number is unlimited.
  for (const id of ids) await endApprovals(inside, id);
  return ids;
}

/** Runs a query of an open store; `duplicate` returns the failure for a violated unique constraint. */
export type Run = <Result>(query: () => Promise<Result>, duplicate?: () => SidekeyError) => Promise<Result>;

/** Runs a change of a right atomically. */
type Change = <Result>(
  write: (inside: Transaction<Schema>) => Promise<Result>,
  duplicate?: () => SidekeyError,
) => Promise<Result>;

/**
 * Returns the function that runs every change of a right. It first increments the revision, so that caches of
 * rights see the change. The increment takes the write lock, so no other process changes the values that are
 * read afterwards.
 */
function rightsChange(db: Kysely<Schema>, run: Run): Change {
  return (write, duplicate) =>
    run(
      () =>
        db.transaction().execute(async (inside) => {
          await oneAtATime(inside, 1);
          return write(inside);
        }),
      duplicate,
    );
}

/**
 * Serialises concurrent transactions that call this. The first statement takes the write lock of SQLite, or
 * the lock of a row in PostgreSQL, whose later statements see what was committed before.
 * @param changes added to the revision of rights
 */
export async function oneAtATime(inside: Transaction<Schema>, changes = 0): Promise<void> {
  await inside
    .updateTable('revisions')
    .set((row) => ({ value: row('value', '+', changes) }))
    .where('name', '=', 'rights')
    .execute();
}

async function rightsRevision(db: Kysely<Schema>): Promise<number> {
  const row = await db
    .selectFrom('revisions')
    .select('value')
    .where('name', '=', 'rights')
    .executeTakeFirstOrThrow();
  return row.value;
}
