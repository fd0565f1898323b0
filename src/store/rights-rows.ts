import type { Kysely, Transaction } from 'kysely';
import type { Binding } from '../agents/lease.ts';
import { SidekeyError } from '../lib/errors.ts';
import type { AgentRow, BindingRow, LeaseRow, PolicyRow, Schema } from './schema.ts';
import type { AgentRecord, BindingRecord, GrantPolicy, LeaseRecord } from './store.ts';

/**
 * Agents, bindings, leases and policies as they stand in their tables. A row that Sidekey did not write gives no right:
 * each function `from…` throws SidekeyError `store_damaged` for one.
 */

export function toAgentRow(agent: AgentRecord): AgentRow {
  return { ...agent, labels: JSON.stringify(agent.labels) };
}

export function fromAgentRow(row: AgentRow): AgentRecord {
  return { ...row, labels: parseTexts(row.labels, `the agent "${row.name}"`, 'labels') };
}

const kinds: readonly Binding['kind'][] = ['grant', 'provider', 'user', 'label', 'everything'];

export function fromBindingRow(row: BindingRow): BindingRecord {
  const kind = kinds.find((each) => each === row.kind);
  if (kind === undefined) throw damaged(`a binding of the agent "${row.agent}"`, 'kind');
  return { ...row, kind };
}

/** Stands for all grants. An older version reads it as the id of a grant that is not there. */
export const allGrants = '["*"]';

export function toLeaseRow(lease: LeaseRecord): LeaseRow {
  return { ...lease, grants: lease.grants === null ? allGrants : JSON.stringify(lease.grants) };
}

export function fromLeaseRow(row: LeaseRow): LeaseRecord {
  const { id, grants } = row;
  return { ...row, grants: grants === allGrants ? null : parseTexts(grants, `the lease "${id}"`, 'grants') };
}

export function toPolicyRow(policy: GrantPolicy): PolicyRow {
  return { ...policy, labels: JSON.stringify(policy.labels) };
}

export function fromPolicyRow(row: PolicyRow): GrantPolicy {
  return { ...row, labels: parseTexts(row.labels, `the policy of the grant ${row.grantId}`, 'labels') };
}

/** Returns the policy of a grant for which nothing was set. */
export function noPolicy(grantId: string): GrantPolicy {
  return {
    grantId,
    expiresAt: null,
    defaultTtlMs: null,
    maxTtlMs: null,
    leaseDefaultMs: null,
    leaseMaxMs: null,
    labels: [],
  };
}

/**
 * Parses a JSON array of texts.
 * @throws SidekeyError `store_damaged`; `place` and `column` say where.
 */
export function parseTexts(json: string, place: string, column: string): string[] {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (error) {
    throw damaged(place, column, error);
  }
  if (!Array.isArray(value) || !value.every((each) => typeof each === 'string')) throw damaged(place, column);
  return value;
}

/** Returns the failure of a column that Sidekey did not write. */
export function damaged(place: string, column: string, cause?: unknown): SidekeyError {
  return new SidekeyError(
    'store_damaged',
    `In the store ${place} has a ${column} column that Sidekey did not write.`,
    { hint: 'Restore the store from a backup, or remove it and make it again.', cause },
  );
}

/** Runs a query of an open store; `duplicate` says what a unique constraint that was violated means. */
export type Run = <Result>(query: () => Promise<Result>, duplicate?: () => SidekeyError) => Promise<Result>;

/** Runs a change of a right: all of it happens, or nothing. */
export type Change = <Result>(
  write: (inside: Transaction<Schema>) => Promise<Result>,
  duplicate?: () => SidekeyError,
) => Promise<Result>;

/**
 * Every change of a right goes through here, so that nobody who keeps rights in memory misses one. The revision comes
 * first: it takes the lock for writing, so what is read after it is not changed by others.
 */
export function rightsChange(db: Kysely<Schema>, run: Run): Change {
  return (write, duplicate) =>
    run(
      () =>
        db.transaction().execute(async (inside) => {
          await inside
            .updateTable('revisions')
            .set((row) => ({ value: row('value', '+', 1) }))
            .where('name', '=', 'rights')
            .execute();
          return write(inside);
        }),
      duplicate,
    );
}

/** How often rights were changed. */
export async function rightsRevision(db: Kysely<Schema>): Promise<number> {
  const row = await db
    .selectFrom('revisions')
    .select('value')
    .where('name', '=', 'rights')
    .executeTakeFirstOrThrow();
  return row.value;
}
