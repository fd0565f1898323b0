import { sql } from 'kysely';
import type { Asking, Question } from '../domain/approval.ts';
import type { Proposal } from '../domain/proposal.ts';
import type { Binding } from '../domain/lease.ts';
import { SidekeyError } from '../lib/errors.ts';
import type {
  AgentRecord,
  AgentTokenRecord,
  ApiKeyRecord,
  AuditEndRecord,
  BindingRecord,
  EnrolmentRecord,
  GrantActivity,
  GrantPolicy,
  GrantRecord,
  LeaseRecord,
  NodeRecord,
  PasskeyRecord,
  PersonRecord,
  SessionRecord,
  TokenUse,
} from './store.ts';

/**
 * Tables of the store, in types of every SQL database: times are integers of milliseconds, booleans are 0 or
 * 1, lists are JSON text. All secrets are in `sealed`. Names in the database are snake_case (`grant_id`):
 * Kysely's `CamelCasePlugin` converts them.
 */
export interface Schema {
  /** Named values of the store itself. */
  meta: { name: string; value: Uint8Array };
  /** `changedIn`: transaction of the last refresh in PostgreSQL, which notifies no process. */
  grants: GrantRow & { changedIn: number | null };
  /** Number of grants: in SQLite kept by triggers, in PostgreSQL a view. */
  grantTotals: { state: string; refreshable: number; total: number };
  agents: AgentRow;
  /** Tokens of agents. Removed together with their agent, like bindings and leases. */
  agentTokens: AgentTokenRecord;
  /** Last uses by OIDC tokens; `id` is the name of the agent. A separate table: a use changes no right. */
  agentUses: { id: string; usedAt: number | null };
  /** Bindings to removed grants have no effect: ids are never reused. */
  bindings: BindingRow;
  leases: LeaseRow;
  grantPolicies: PolicyRow;
  /** Counters that every change increments: `rights`, see `RightsStore.revision`. */
  revisions: { name: string; value: number };
  /** Locks over all processes of the store. */
  locks: { name: string; holder: string; expiresAt: number };
  /** Pending consents. */
  sessions: SessionRecord;
  grantActivity: ActivityRow;
  /** `lease` is empty for callers without a lease. */
  tokenUses: Stored<TokenUse, { lease: string; notedAt: number }>;
  questions: QuestionRow;
  proposals: ProposalRow;
  auditEnds: AuditEndRecord;
  apiKeys: ApiKeyRow;
  people: PersonRecord;
  /** Passkeys of people. Removed together with their person. */
  passkeys: PasskeyRecord;
  nodes: NodeRow;
  enrolments: EnrolmentRow;
}

/** A record with some members in the form of their columns. */
type Stored<Record, Columns> = Omit<Record, keyof Columns> & Columns;

/** A node, with the time at which it was last seen. */
type NodeRow = Omit<NodeRecord, 'awayMs'> & { seenAt: number };
/** An enrolment, with its end. */
type EnrolmentRow = Omit<EnrolmentRecord, 'leftMs'> & { expiresAt: number };
/** A key of the API; `scopes` is a JSON array of texts; null: all of the role. */
export type ApiKeyRow = Stored<ApiKeyRecord, { scopes: string | null }>;
/** A grant; `scopes` is a JSON array of texts. */
export type GrantRow = Stored<
  Omit<GrantRecord, 'times' | 'labels' | 'endsAt'>,
  {
    type: string;
    state: string;
    scopes: string;
    refreshable: number;
    dueAt: number | null;
    obtainedAt: number | null;
    /** Revision whose credential names no file. Any other may name files; earlier versions set no mark. */
    filelessIn: number | null;
  }
>;
/** An agent; `labels` is a JSON array of texts. */
type AgentRow = Stored<AgentRecord, { labels: string }>;
type BindingRow = Stored<BindingRecord, { kind: string }>;
/** A lease; `grants` is a JSON array of ids. */
type LeaseRow = Stored<LeaseRecord, { grants: string }>;
/** The policy of a grant; `labels` is a JSON array of texts. */
type PolicyRow = Stored<GrantPolicy, { labels: string }>;
/**
 * The activity of a grant; `lacked` has a space between scopes. It is separate from the grant, because each
 * change of a grant also changes its revision and its seal.
 */
export type ActivityRow = Stored<GrantActivity, { lacked: string | null }>;

/** A question, its answer, and `stands`: 1 if the answer is a standing approval. */
export type QuestionRow = Stored<
  Omit<Question, 'who'> & Asking,
  {
    scheme: string;
    hasQuery: number;
    /** Header fields, one on each line. */
    fields: string | null;
    answeredAt: number | null;
    answeredBy: string | null;
    /** `denied`, or the extent of an approval: `once`, `lease`, `until`. */
    answer: string | null;
    /** End of an approval with the extent `until`. */
    until: number | null;
    /** 1: the answer is an unrevoked approval for further requests. */
    stands: number;
  }
>;

/** A proposal and its answer; `change` is JSON. Removed with its agent and its lease. */
export type ProposalRow = Omit<Proposal, 'change' | 'answer'> & {
  readonly change: string;
  readonly answeredAt: number | null;
  readonly answeredBy: string | null;
  readonly outcome: string | null;
  /** End of an acceptance for one exchange, or for a lease that ended and was renewed. Null: no such end. */
  readonly until: number | null;
};

/**
 * Conversion of agents, bindings, leases and policies to rows and back. Each function `from…` throws
 * SidekeyError `store_damaged` for a row that Sidekey did not write, so that such a row grants no right.
 */

export function toAgentRow(agent: AgentRecord): AgentRow {
  return { ...agent, labels: JSON.stringify(agent.labels) };
}

export function fromAgentRow(row: AgentRow): AgentRecord {
  return { ...row, labels: parseTexts(row.labels, `the agent "${row.name}"`, 'labels') };
}

const kinds: readonly Binding['kind'][] = ['grant', 'provider', 'user', 'label', 'everything', 'egress'];

export function fromBindingRow(row: BindingRow): BindingRecord {
  const kind = kinds.find((each) => each === row.kind);
  if (kind === undefined) throw damaged(`a binding of the agent "${row.agent}"`, 'kind');
  return { ...row, kind };
}

/** Represents all grants. Older versions read it as the id of a missing grant. */
export const anyGrant = ['*'] as const;

/** Marks a host of `Lease.egress` among the grants. Older versions read it as the id of a missing grant. */
const egress = 'egress ';

export function toLeaseRow({ egress: hosts = [], ...lease }: LeaseRecord): LeaseRow {
  const all = [...(lease.grants ?? anyGrant), ...hosts.map((host) => `${egress}${host}`)];
  return { ...lease, grants: JSON.stringify(all) };
}

export function fromLeaseRow(row: LeaseRow): LeaseRecord {
  const all = parseTexts(row.grants, `the lease "${row.id}"`, 'grants');
  const hosts = all.filter((text) => text.startsWith(egress)).map((text) => text.slice(egress.length));
  const grants = all.filter((text) => !text.startsWith(egress));
  return {
    ...row,
    grants: grants.join() === anyGrant.join() ? null : grants,
    ...(hosts.length === 0 ? {} : { egress: hosts }),
  };
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
 * @throws SidekeyError `store_damaged`, which names `place` and `column`
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

/** Compares by code unit: the same order in every database for names, which are ASCII. */
export function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Milliseconds by which clocks may differ; a stored time that is further ahead is wrong. */
export const wrongClockMs = 300_000;

/** The comment at the end of a statement that does not wait for the disk. */
export const unsyncedMark = '/* unsynced */';

/**
 * Marks a statement whose commit does not wait for the disk, because a wait would block the thread for
 * milliseconds and delay reading responses with rotated refresh tokens. Its writes survive a crash of the
 * process; a power cut only after the next `synced`. A power cut may lose locks and activity: no holder of a
 * lock survives it. Must not be used within a transaction.
 */
export const unsynced = sql.raw(unsyncedMark);
