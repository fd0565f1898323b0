import type { Kysely, Transaction } from 'kysely';
import type { Binding } from '../agents/lease.ts';
import { SidekeyError } from '../lib/errors.ts';
import type {
  AgentTable,
  AgentTokenTable,
  BindingTable,
  GrantPolicyTable,
  LeaseTable,
  Schema,
} from './schema.ts';
import type { AgentRecord, AgentTokenRecord, BindingRecord, GrantPolicy, LeaseRecord } from './store.ts';

/** Agents, tokens, bindings, leases and policies as they stand in their tables. */

export function toAgentRow({ name, user, labels, disabledAt, createdAt }: AgentRecord): AgentTable {
  return { name, user, labels: JSON.stringify(labels), disabled_at: disabledAt, created_at: createdAt };
}

/** @throws SidekeyError `store_damaged`, as all of these: what Sidekey did not write is no right. */
export function fromAgentRow(row: AgentTable): AgentRecord {
  return {
    name: row.name,
    user: row.user,
    labels: texts(row.labels, `the agent "${row.name}"`, 'labels'),
    disabledAt: row.disabled_at,
    createdAt: row.created_at,
  };
}

export function toTokenRow(token: AgentTokenRecord): AgentTokenTable {
  return {
    id: token.id,
    agent: token.agent,
    label: token.label,
    hash: token.hash,
    created_at: token.createdAt,
    expires_at: token.expiresAt,
    used_at: token.usedAt,
    revoked_at: token.revokedAt,
  };
}

export function fromTokenRow(row: AgentTokenTable): AgentTokenRecord {
  return {
    id: row.id,
    agent: row.agent,
    label: row.label,
    hash: row.hash,
    createdAt: row.created_at,
    expiresAt: row.expires_at,
    usedAt: row.used_at,
    revokedAt: row.revoked_at,
  };
}

const kinds: readonly Binding['kind'][] = ['grant', 'provider', 'user', 'label', 'everything'];

export function fromBindingRow(row: BindingTable): BindingRecord {
  const kind = kinds.find((each) => each === row.kind);
  if (kind === undefined) throw damaged(`a binding of the agent "${row.agent}"`, 'kind');
  return { agent: row.agent, kind, value: row.value, createdAt: row.created_at };
}

/** What stands in the place of ids where all are meant: for a version that does not know it, a grant that is not there. */
export const allGrants = '["*"]';

export function toLeaseRow(lease: LeaseRecord): LeaseTable {
  return {
    id: lease.id,
    agent: lease.agent,
    token_hash: lease.tokenHash,
    grants: lease.grants === null ? allGrants : JSON.stringify(lease.grants),
    purpose: lease.purpose,
    created_at: lease.createdAt,
    expires_at: lease.expiresAt,
    idle_ms: lease.idleMs,
    renewed_at: lease.renewedAt,
    used_at: lease.usedAt,
    max_uses: lease.maxUses,
    uses: lease.uses,
    revoked_at: lease.revokedAt,
  };
}

export function fromLeaseRow(row: LeaseTable): LeaseRecord {
  return {
    id: row.id,
    agent: row.agent,
    tokenHash: row.token_hash,
    grants: row.grants === allGrants ? null : texts(row.grants, `the lease "${row.id}"`, 'grants'),
    purpose: row.purpose,
    createdAt: row.created_at,
    expiresAt: row.expires_at,
    idleMs: row.idle_ms,
    renewedAt: row.renewed_at,
    usedAt: row.used_at,
    maxUses: row.max_uses,
    uses: row.uses,
    revokedAt: row.revoked_at,
  };
}

export function toPolicyRow(policy: GrantPolicy): GrantPolicyTable {
  return {
    grant_id: policy.grantId,
    expires_at: policy.expiresAt,
    default_ttl_ms: policy.defaultTtlMs,
    max_ttl_ms: policy.maxTtlMs,
    lease_default_ms: policy.leaseDefaultMs,
    lease_max_ms: policy.leaseMaxMs,
    labels: JSON.stringify(policy.labels),
  };
}

export function fromPolicyRow(row: GrantPolicyTable): GrantPolicy {
  return {
    grantId: row.grant_id,
    expiresAt: row.expires_at,
    defaultTtlMs: row.default_ttl_ms,
    maxTtlMs: row.max_ttl_ms,
    leaseDefaultMs: row.lease_default_ms,
    leaseMaxMs: row.lease_max_ms,
    labels: texts(row.labels, `the policy of the grant ${row.grant_id}`, 'labels'),
  };
}

/** What a grant has for which nothing was set. */
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

function texts(json: string, what: string, column: string): string[] {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (error) {
    throw damaged(what, column, error);
  }
  if (!Array.isArray(value) || !value.every((each) => typeof each === 'string')) throw damaged(what, column);
  return value;
}

/** What the store has and Sidekey never writes; `what` and `column` say where. */
export function damaged(what: string, column: string, cause?: unknown): SidekeyError {
  return new SidekeyError(
    'store_damaged',
    `In the store ${what} has a ${column} column that Sidekey did not write.`,
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
