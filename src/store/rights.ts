import { type Kysely, sql } from 'kysely';
import type { Run } from './queries.ts';
import { compare, fromAgentRow, fromBindingRow, fromLeaseRow, type Schema, wrongClockMs } from './schema.ts';
import type { BoundAgent, Store } from './store.ts';

/**
 * Returns the queries for the rights of requests, by index.
 * @param now milliseconds since the epoch
 */
export function sqlRights(db: Kysely<Schema>, run: Run, now: () => number): Store['rights'] {
  return {
    revision: () =>
      run(async () => {
        const rows = db.selectFrom('revisions').select('value').where('name', '=', 'rights');
        return (await rows.executeTakeFirstOrThrow()).value;
      }),
    holder: (tokenHash) =>
      run(async () => {
        // One statement, so that a token never has the rights of another moment.
        const query = heldRows(db, 'agentTokens', tokenHash).unionAll(heldRows(db, 'leases', tokenHash));
        const held = splitAgent((await query.execute()) as unknown as readonly HeldColumns[]);
        if (held === null) return null;
        const { agent, row } = held;
        const isToken = row.label !== null;
        const own = Object.fromEntries(
          heldColumns[isToken ? 'agentTokens' : 'leases'].map((column) => [column, row[column]]),
        ) as unknown as Schema['agentTokens'] & Schema['leases'];
        return isToken
          ? { kind: 'token', agent, token: own }
          : { kind: 'lease', agent, lease: fromLeaseRow(own) };
      }),
    agent: (name) =>
      run(async () => {
        const agents = db.selectFrom('agents').leftJoin('bindings', 'bindings.agent', 'agents.name');
        const rows = await agents.select(agentColumns).where('agents.name', '=', name).execute();
        return splitAgent(rows)?.agent ?? null;
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
  };
}

const useTables = { token: 'agentTokens', lease: 'leases', identity: 'agentUses' } as const;

/** Columns of tokens and leases. One statement reads both, with null for columns that a table lacks. */
const heldColumns = {
  agentTokens: 'id agent label hash createdAt expiresAt usedAt revokedAt'.split(' '),
  leases:
    'id agent tokenHash grants purpose createdAt expiresAt idleMs renewedAt usedAt maxUses uses revokedAt'.split(
      ' ',
    ),
};

type HeldColumns = AgentColumns & Readonly<Record<string, unknown>>;

/** Returns the rows of the tokens or leases with a hash: each with its agent, and one of its bindings. */
function heldRows(db: Kysely<Schema>, table: keyof typeof heldColumns, tokenHash: Uint8Array) {
  const all = new Set(Object.values(heldColumns).flat());
  return (db as unknown as Kysely<Record<string, Record<string, unknown>>>)
    .selectFrom(table)
    .innerJoin('agents', 'agents.name', `${table}.agent`)
    .leftJoin('bindings', 'bindings.agent', 'agents.name')
    .select(
      [...all].map((name) =>
        (heldColumns[table].includes(name) ? sql.ref(`${table}.${name}`) : sql`null`).as(name),
      ),
    )
    .select(agentColumns)
    .where(`${table}.${table === 'leases' ? 'tokenHash' : 'hash'}`, '=', tokenHash);
}

/** Columns of an agent and of one of its bindings, beside those of its token or lease. */
const agentColumns = [
  'agents.name as agentName',
  'agents.user as agentUser',
  'agents.labels as agentLabels',
  'agents.disabledAt as agentDisabledAt',
  'agents.createdAt as agentCreatedAt',
  'bindings.kind',
  'bindings.value',
] as const;

interface AgentColumns {
  readonly agentName: string;
  readonly agentUser: string | null;
  readonly agentLabels: string;
  readonly agentDisabledAt: number | null;
  readonly agentCreatedAt: number;
  readonly kind: string | null;
  readonly value: string | null;
}

/** Returns the agent of rows with its bindings, and the other columns of the first row; null: no row. */
function splitAgent<Row extends AgentColumns>(
  rows: readonly Row[],
): { readonly agent: BoundAgent; readonly row: Omit<Row, keyof AgentColumns> } | null {
  const [first] = rows;
  if (first === undefined) return null;
  const {
    agentName: name,
    agentUser: user,
    agentLabels: labels,
    agentDisabledAt: disabledAt,
    agentCreatedAt: createdAt,
    kind: _,
    value: __,
    ...row
  } = first;
  const agent = fromAgentRow({ name, user, labels, disabledAt, createdAt });
  const bindings = rows.flatMap(({ kind, value }) =>
    kind === null || value === null ? [] : [fromBindingRow({ agent: name, kind, value, createdAt: 0 })],
  );
  return { agent: { ...agent, bindings: bindings.map(({ kind, value }) => ({ kind, value })) }, row };
}
