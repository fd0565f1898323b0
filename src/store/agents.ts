import { type ExpressionBuilder, type Kysely, sql, type Transaction, type UpdateQueryBuilder } from 'kysely';
import { type Binding, everything, leaseStanding } from '../domain/lease.ts';
import type { SidekeyError } from '../lib/errors.ts';
import { hintOf, remedy } from '../lib/hint.ts';
import { ofGrant, ofRight } from './change-log.ts';
import { leaseEndings } from './grant-checks.ts';
import type { StoreWrites } from './grants.ts';
import { all, byName, done, first, inBatches, pageOf, rowsOf, type Run, taken, written } from './queries.ts';
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
} from './schema.ts';
import type {
  AgentRecord,
  GrantPolicy,
  GrantRecord,
  LeaseChoice,
  LeaseQuery,
  LeaseStore,
  Page,
  PolicyChange,
  Store,
  TakeOver,
} from './store.ts';

/** Queries for the rights of agents. Each is one statement or one transaction. */

type AgentRightsParts = Pick<Store, 'agents' | 'agentTokens' | 'bindings' | 'leases' | 'grantPolicies'>;

export function sqlAgentRights(
  db: Kysely<Schema>,
  run: Run,
  { rightsWritten }: Pick<StoreWrites, 'rightsWritten'>,
): AgentRightsParts {
  const change = rightsChange(db, run, rightsWritten);
  return {
    ...sqlAgents(db, run, change),

    leases: sqlLeases(db, run, change),

    grantPolicies: {
      get: (grantId) => run(() => first(allPolicies(db).where('grantId', '=', grantId), fromPolicyRow)),
      some: (ids) =>
        run(() => inBatches(ids, (some) => all(allPolicies(db).where('grantId', 'in', some), fromPolicyRow))),
      leaseMaxima: (...page) => run(() => all(leaseMaxima(db, ...page), fromPolicyRow)),
      set: (grantId, policy) =>
        change(async (inside, note) => {
          note(ofGrant(grantId));
          const grant = inside.selectFrom('grants').select('id').where('id', '=', grantId);
          if ((await first(grant)) === null) return false;
          await setPolicies(inside, [{ id: grantId, policy }]);
          return true;
        }),
    },
  };
}

/** Returns the function that writes grants, in one transaction with their policies if they have any. */
export function policyWrites(db: Kysely<Schema>, run: Run, wrote: StoreWrites['rightsWritten']) {
  const change = rightsChange(db, run, wrote);
  return async (
    records: readonly GrantRecord[],
    write: (on: Kysely<Schema>) => Promise<number>,
    duplicate: () => SidekeyError,
  ): Promise<number> => {
    const changes = records.flatMap(({ id, policy }) => (policy === undefined ? [] : [{ id, policy }]));
    if (changes.length === 0) return write(db);
    return change(async (inside, note) => {
      for (const { id } of changes) note(ofGrant(id));
      const rows = await write(inside);
      if (rows > 0) await setPolicies(inside, changes);
      return rows;
    }, duplicate);
  };
}

/** Changes the policies of up to 1,000 grants, which exist. */
async function setPolicies(
  inside: Transaction<Schema>,
  changes: readonly { readonly id: string; readonly policy: PolicyChange }[],
): Promise<void> {
  const ids = changes.map(({ id }) => id);
  const stored = await all(allPolicies(inside).where('grantId', 'in', ids), fromPolicyRow);
  const before = new Map(stored.map((policy) => [policy.grantId, policy]));
  const rows = changes.map(({ id, policy }) =>
    toPolicyRow({ ...(before.get(id) ?? noPolicy(id)), ...policy, grantId: id }),
  );
  await inside.deleteFrom('grantPolicies').where('grantId', 'in', ids).execute();
  await inside.insertInto('grantPolicies').values(rows).execute();
  // The schedule does not read an ended grant again by itself.
  const ended = changes.filter(({ policy }) => policy.expiresAt !== undefined).map(({ id }) => id);
  if (ended.length === 0) return;
  const grants = inside.updateTable('grants').set({ dueAt: 0 }).where('id', 'in', ended);
  await grants.where('refreshable', '=', 1).execute();
}

/** Returns rows of policies by an index of `0030-grants-of-leases`. */
export function leaseMaxima(
  db: Kysely<Schema>,
  ...[below, after, limit]: Parameters<Store['grantPolicies']['leaseMaxima']>
) {
  const place = after && [after.leaseMaxMs, after.grantId];
  return pageOf(allPolicies(db).where('leaseMaxMs', '<', below), ['leaseMaxMs', 'grantId'], place, limit);
}

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
    get: (id) => run(() => first(db.selectFrom('leases').selectAll().where('id', '=', id), fromLeaseRow)),
    find: (query = {}) => run(() => all(leasePage(db, query), fromLeaseRow)),
    endings: (at, spans) => leaseEndings(db, run, at, spans),
    startingWith: (prefix) =>
      run(async () => {
        // Characters of an id are at most `f`.
        const from = db.selectFrom('leases').selectAll().where('id', '>=', prefix);
        return all(from.where('id', '<', `${prefix}g`).orderBy('id').limit(2), fromLeaseRow);
      }),
    renew: (id, { at, expiresAt, moreUses }) =>
      change(async (inside, note) => {
        note(ofRight('lease', id));
        const lease = inside.selectFrom('leases').selectAll().where('id', '=', id);
        const before = await first(lease, fromLeaseRow);
        // Approvals for the lifetime of a lease end with the lease.
        if (before !== null && leaseStanding(before, at).state !== 'active') await endApprovals(inside, id);
        const renewed = inside
          .updateTable('leases')
          .set((row) => ({ renewedAt: at, expiresAt: expiresAt, maxUses: row('maxUses', '+', moreUses) }))
          .where('id', '=', id)
          .where('revokedAt', 'is', null);
        return first(renewed.returningAll(), fromLeaseRow);
      }),
    revoke: (which, at) => change((inside, note) => revokeLeases(inside, note, which, at)),
    use: (id, at) =>
      // Counting a use changes no right, so the revision is kept.
      run(() => {
        const counted = db
          .updateTable('leases')
          .set((lease) => ({ uses: lease('uses', '+', 1), usedAt: at }))
          .where('id', '=', id)
          .where('revokedAt', 'is', null)
          .where('expiresAt', '>', at)
          .where((lease) =>
            lease.or([lease('maxUses', 'is', null), lease('uses', '<', lease.ref('maxUses'))]),
          );
        return first(counted.returning('uses'), ({ uses }) => uses);
      }),
    async removeEnded(before) {
      // Each new lease calls this. A removal makes everybody read grants and rights again.
      const ended = db.selectFrom('leases').select('id').where('expiresAt', '<', before).limit(1);
      if ((await run(() => first(ended))) === null) return;
      await change((inside, note) => {
        note(ofRight());
        return done(inside.deleteFrom('leases').where('expiresAt', '<', before));
      });
    },
  };
}

/** Columns that are read: the table has another one, which is not used. */
const policyColumns = Object.keys(noPolicy('')) as (keyof GrantPolicy)[];

function allPolicies(from: Kysely<Schema>) {
  return from.selectFrom('grantPolicies').select(policyColumns);
}

/** Ends the approvals of a lease, and its accepted proposals. */
async function endApprovals(inside: Kysely<Schema>, lease: string): Promise<void> {
  await inside.updateTable('proposals').set({ until: 0 }).where('lease', '=', lease).execute();
  await inside.updateTable('questions').set({ stands: 0 }).where('lease', '=', lease).execute();
}

/** Returns rows of leases by an index of `0029-lists`. */
function leasePage(db: Kysely<Schema>, { agent, grant, endsAfter, after, limit }: LeaseQuery) {
  let query = db.selectFrom('leases').selectAll();
  if (grant !== undefined) query = query.where(isFor(grant));
  if (agent !== undefined) query = query.where('agent', '=', agent);
  if (after === undefined && endsAfter !== undefined) query = query.where('expiresAt', '>', endsAfter);
  return pageOf(query, ['expiresAt', 'id'], after && [after.expiresAt, after.id], limit);
}

/** Matches leases for a grant. `like` finds grant ids: JSON strings without wildcards. */
function isFor(grant: string) {
  return (row: ExpressionBuilder<Schema, 'leases'>) =>
    row.or([
      row('grants', 'like', `%${JSON.stringify(grant)}%`),
      row('grants', 'like', `[${JSON.stringify(anyGrant[0])}%`),
    ]);
}

/** Restricts a query to the chosen leases. */
function choose(
  query: UpdateQueryBuilder<Schema, 'leases', 'leases', Pick<Schema['leases'], 'id'>>,
  which: LeaseChoice,
) {
  if ('id' in which) return query.where('id', '=', which.id);
  if ('agent' in which) return query.where('agent', '=', which.agent);
  return query.where(isFor(which.grant));
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
          taken(
            `There is an agent named "${agent.name}" already.`,
            hintOf`Choose another name, or remove it first: ${remedy('agent.remove', { agent: agent.name })}`,
          ),
        ),
      get: (name) =>
        run(() => first(db.selectFrom('agents').selectAll().where('name', '=', name), fromAgentRow)),
      list: (page) =>
        run(() =>
          all(pageOf(db.selectFrom('agents').selectAll(), ['name'], undefined, page?.limit), fromAgentRow),
        ),
      count: () => run(() => rowsOf(db.selectFrom('agents'))),
      inList: (at, page) =>
        run(async () => {
          const rows = await agentPage(db, at, page).execute();
          if (rows.length === 0) return [];
          const bindings = db.selectFrom('bindings').selectAll().orderBy('kind').orderBy('value');
          const names = rows.map(({ name }) => name);
          const of = Map.groupBy(
            await all(bindings.where('agent', 'in', names), fromBindingRow),
            ({ agent }) => agent,
          );
          return rows.map(({ liveTokens, activeLeases, tokenAt, leaseAt, identityAt, ...row }) => {
            const usedAt = Math.max(tokenAt ?? 0, leaseAt ?? 0, identityAt ?? 0) || null;
            const bound = of.get(row.name) ?? [];
            return { ...fromAgentRow(row), bindings: bound, liveTokens, activeLeases, usedAt };
          });
        }),
      reaching: (grant, limit) =>
        run(async () => {
          const found = new Map<string, AgentRecord>();
          for (const query of agentsReaching(db, grant))
            for (const agent of await all(query.limit(limit), fromAgentRow)) found.set(agent.name, agent);
          return byName([...found.values()]).slice(0, limit);
        }),
      identityUse: (name) =>
        run(() =>
          first(db.selectFrom('agentUses').where('id', '=', name).select('usedAt'), ({ usedAt }) => usedAt),
        ),
      change: (name, { user, labels, disabledAt }) =>
        change(async (inside, note) => {
          note(ofRight('agent', name));
          const update = inside
            .updateTable('agents')
            // Sets the name to itself, because an update needs at least one column.
            .set({
              name,
              ...(user === undefined ? {} : { user }),
              ...(labels === undefined ? {} : { labels: JSON.stringify(labels) }),
              ...(disabledAt === undefined ? {} : { disabledAt: disabledAt }),
            })
            .where('name', '=', name);
          const isChanged = (await written(update)) === 1;
          // A lease that was suspended must not come back with its agent.
          if (typeof disabledAt === 'number') await revokeLeases(inside, note, { agent: name }, disabledAt);
          return isChanged;
        }),
      remove: (name) =>
        change(async (inside, note) => {
          note(ofRight('agent', name));
          return (await written(inside.deleteFrom('agents').where('name', '=', name))) === 1;
        }),
    },

    agentTokens: {
      any: () => run(async () => (await first(db.selectFrom('agentTokens').select('id').limit(1))) !== null),
      list: (agent) =>
        run(() => {
          const tokens = db.selectFrom('agentTokens').selectAll().orderBy('createdAt').orderBy('id');
          return (agent === undefined ? tokens : tokens.where('agent', '=', agent)).execute();
        }),
      add: (token, takeOver) =>
        change(async (inside, note) => {
          if (takeOver !== null) note(ofRight('agent', token.agent));
          if (!(await isAgent(inside, token.agent))) return null;
          const ending =
            takeOver === null
              ? 0
              : await written(liveTokens(inside, token.agent, takeOver).set({ expiresAt: takeOver.at }));
          await inside.insertInto('agentTokens').values(token).execute();
          return ending;
        }),
      revoke: (agent, label, at) =>
        change((inside, note) => {
          note(ofRight('agent', agent));
          return written(liveTokens(inside, agent, { label, at }).set({ revokedAt: at }));
        }),
      removeEnded: (before) =>
        change((inside, note) => {
          note(ofRight());
          return done(
            inside
              .deleteFrom('agentTokens')
              .where((row) => row.or([row('expiresAt', '<', before), row('revokedAt', '<', before)])),
          );
        }),
    },

    bindings: {
      list: (agent) =>
        run(async () => {
          const query = db.selectFrom('bindings').selectAll();
          const own = agent === undefined ? query : query.where('agent', '=', agent);
          return (await all(own, fromBindingRow)).toSorted(
            (a, b) => compare(a.agent, b.agent) || compare(a.kind, b.kind) || compare(a.value, b.value),
          );
        }),
      add: (agent, bindings, at) =>
        change(async (inside, note) => {
          note(ofRight('agent', agent));
          return (await isAgent(inside, agent)) ? addBindings(inside, agent, bindings, at) : null;
        }),
      remove: (agent, bindings) =>
        change(async (inside, note) => {
          note(ofRight('agent', agent));
          let removed = 0;
          for (const { kind, value } of bindings) {
            const same = inside.deleteFrom('bindings').where('kind', '=', kind).where('value', '=', value);
            removed += await written(same.where('agent', '=', agent));
          }
          return removed;
        }),
    },
  };
}

/** Returns the agents of each binding that reaches a grant, by an index of `0037-bindings`. */
export function agentsReaching(
  db: Kysely<Schema>,
  { id, user, provider, labels = [] }: Parameters<AgentParts['agents']['reaching']>[0],
) {
  const bound = (kind: Binding['kind'], value: string) => {
    const agents = db.selectFrom('bindings').innerJoin('agents', 'agents.name', 'bindings.agent');
    return agents.selectAll('agents').where('kind', '=', kind).where('value', '=', value).orderBy('agent');
  };
  const ofOwn = [bound('provider', provider), ...labels.map((label) => bound('label', label))];
  return [
    bound('grant', id),
    bound('user', user),
    bound(everything.kind, everything.value),
    ...ofOwn.map((query) => query.where((row) => row.or([row('user', 'is', null), row('user', '=', user)]))),
  ];
}

/** Rows of leases that are read for each agent of a page. */
const recentLeases = 100;

/** Returns agents with facts of their rights, by an index of `0029-lists` for each. */
function agentPage(db: Kysely<Schema>, at: number, { after, limit }: Page<string>) {
  const leases = sql`(
    select * from leases where agent = agents.name order by expires_at desc, id desc limit ${recentLeases}
  ) as recent`;
  const query = db
    .selectFrom('agents')
    .leftJoin('agentUses', 'agentUses.id', 'agents.name')
    .selectAll('agents')
    .select('agentUses.usedAt as identityAt')
    .select([
      sql<number>`(
        select count(*) from agent_tokens where agent = agents.name and revoked_at is null
        and (expires_at is null or expires_at > ${at})
      )`.as('liveTokens'),
      sql<number | null>`(select max(used_at) from agent_tokens where agent = agents.name)`.as('tokenAt'),
      sql<number | null>`(select max(used_at) from ${leases})`.as('leaseAt'),
      // As `leaseStanding`.
      sql<number>`(
        select count(*) from ${leases} where revoked_at is null and expires_at > ${at}
        and (max_uses is null or uses < max_uses)
        and (
          idle_ms is null or created_at + idle_ms > ${at}
          or coalesce(renewed_at, 0) + idle_ms > ${at} or coalesce(used_at, 0) + idle_ms > ${at}
        )
      )`.as('activeLeases'),
    ]);
  return pageOf(query, ['name'], after === undefined ? after : [after], limit);
}

/** Returns an update of the tokens of an agent with this label (null: any) that are valid at this time. */
function liveTokens(inside: Transaction<Schema>, agent: string, { label, at }: TakeOver) {
  const live = inside
    .updateTable('agentTokens')
    .where('agent', '=', agent)
    .where('revokedAt', 'is', null)
    .where((row) => row.or([row('expiresAt', 'is', null), row('expiresAt', '>', at)]));
  return label === null ? live : live.where('label', '=', label);
}

/** Reports whether an agent of this name exists. The write lock of the transaction keeps the result valid. */
async function isAgent(inside: Transaction<Schema>, name: string): Promise<boolean> {
  return (await first(inside.selectFrom('agents').select('name').where('name', '=', name))) !== null;
}

async function addBindings(
  inside: Transaction<Schema>,
  agent: string,
  bindings: readonly Binding[],
  at: number,
): Promise<number> {
  let added = 0;
  for (const { kind, value } of bindings) {
    const insertion = inside
      .insertInto('bindings')
      .values({ agent, kind, value, createdAt: at })
      .onConflict((conflict) => conflict.columns(['agent', 'kind', 'value']).doNothing());
    added += await written(insertion);
  }
  return added;
}

async function revokeLeases(
  inside: Transaction<Schema>,
  note: Note,
  which: LeaseChoice,
  at: number,
): Promise<string[]> {
  const query = inside
    .updateTable('leases')
    .set({ revokedAt: at })
    .where('revokedAt', 'is', null)
    .returning('id');
  const ids = (await choose(query, which).execute()).map(({ id }) => id);
  // Approvals for a lease end with it. One statement per id, because their number is unlimited.
  for (const id of ids) {
    note(ofRight('lease', id));
    await endApprovals(inside, id);
  }
  return ids;
}

/** Takes the notification of a row that a change writes or removes. New leases and tokens need none. */
type Note = (notification: string) => void;

/** Runs a change of a right atomically. */
type Change = <Result>(
  write: (inside: Transaction<Schema>, note: Note) => Promise<Result>,
  duplicate?: () => SidekeyError,
) => Promise<Result>;

/**
 * Returns the function that runs every change of a right. It first increments the revision, so that caches of
 * rights see the change. The increment takes the write lock, so no other process changes the values that are
 * read afterwards.
 */
function rightsChange(db: Kysely<Schema>, run: Run, wrote: StoreWrites['rightsWritten']): Change {
  return (write, duplicate) =>
    run(async () => {
      const notes: string[] = [];
      try {
        return await db.transaction().execute(async (inside) => {
          await oneAtATime(inside, 1);
          return write(inside, (notification) => notes.push(notification));
        });
      } finally {
        // Also after an error: the commit may have succeeded.
        wrote(notes);
      }
    }, duplicate);
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
