/** The queries for agents, their tokens and their bindings. */
import type { Kysely, Transaction } from 'kysely';
import { SidekeyError } from '../errors.ts';
import type { Binding } from '../grants/binding.ts';
import { fromAgentRow, fromBindingRow, fromTokenRow, toAgentRow, toTokenRow } from './rights-row.ts';
import type { Schema } from './schema.ts';
import type { Change, Run } from './sql-change.ts';
import type { Store } from './store.ts';

type AgentParts = Pick<Store, 'agents' | 'agentTokens' | 'bindings'>;

/** What `Store` says of these parts. */
export function sqlAgents(db: Kysely<Schema>, run: Run, change: Change): AgentParts {
  return {
    agents: {
      insert: (agent, { tokens = [], bindings = [] } = {}) =>
        change(
          async (inside) => {
            await inside.insertInto('agents').values(toAgentRow(agent)).execute();
            for (const token of tokens)
              await inside.insertInto('agent_tokens').values(toTokenRow(token)).execute();
            await addBindings(inside, agent.name, bindings, agent.createdAt);
          },
          () =>
            new SidekeyError('already_exists', `There is an agent named "${agent.name}" already.`, {
              hint: `Choose another name, or remove it first: sidekey agent remove ${agent.name}`,
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
      change: (name, { user, labels, disabledAt }) =>
        change(async (inside) => {
          const result = await inside
            .updateTable('agents')
            // The name itself, so that there is something to set where nothing is asked for.
            .set({
              name,
              ...(user === undefined ? {} : { user }),
              ...(labels === undefined ? {} : { labels: JSON.stringify(labels) }),
              ...(disabledAt === undefined ? {} : { disabled_at: disabledAt }),
            })
            .where('name', '=', name)
            .executeTakeFirstOrThrow();
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
          return rows.map(fromTokenRow);
        }),
      add: (token, takeOver) =>
        change(async (inside) => {
          if (!(await isAgent(inside, token.agent))) return null;
          let ending = 0n;
          if (takeOver !== null) {
            const { label, at } = takeOver;
            let query = inside
              .updateTable('agent_tokens')
              .set({ expires_at: at })
              .where('agent', '=', token.agent)
              .where('revoked_at', 'is', null)
              .where((row) => row.or([row('expires_at', 'is', null), row('expires_at', '>', at)]));
            if (label !== null) query = query.where('label', '=', label);
            ending = (await query.executeTakeFirstOrThrow()).numUpdatedRows;
          }
          await inside.insertInto('agent_tokens').values(toTokenRow(token)).execute();
          return Number(ending);
        }),
      revoke: (agent, label, at) =>
        change(async (inside) => {
          let query = inside
            .updateTable('agent_tokens')
            .set({ revoked_at: at })
            .where('agent', '=', agent)
            .where('revoked_at', 'is', null)
            .where((row) => row.or([row('expires_at', 'is', null), row('expires_at', '>', at)]));
          if (label !== null) query = query.where('label', '=', label);
          return Number((await query.executeTakeFirstOrThrow()).numUpdatedRows);
        }),
      removeEnded: (before) =>
        change(async (inside) => {
          await inside
            .deleteFrom('agent_tokens')
            .where((row) => row.or([row('expires_at', '<', before), row('revoked_at', '<', before)]))
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

/** All tokens, in order of creation. */
export function allTokens(from: Kysely<Schema>) {
  return from.selectFrom('agent_tokens').selectAll().orderBy('created_at').orderBy('id');
}

/** Whether there is an agent of this name, for as long as the transaction lasts. */
export async function isAgent(inside: Transaction<Schema>, name: string): Promise<boolean> {
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
      .values({ agent, kind, value, created_at: at })
      .onConflict((conflict) => conflict.columns(['agent', 'kind', 'value']).doNothing())
      .executeTakeFirstOrThrow();
    added += Number(result.numInsertedOrUpdatedRows ?? 0n);
  }
  return added;
}

/** By code unit: for names, which are ASCII, the same everywhere. */
function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
