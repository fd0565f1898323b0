import type { Kysely } from 'kysely';
import { DEFAULT_MIGRATION_TABLE, Migrator } from 'kysely/migration';
import type { Migrations } from './migrations.ts';

/**
 * The tables, in types that every SQL database has: times are integers of milliseconds, truth is 0 or 1, lists are
 * JSON text. Names, owners and ends are columns; everything secret is inside `sealed`.
 */
export interface Schema {
  meta: MetaTable;
  grants: GrantTable;
  agents: AgentTable;
  agent_tokens: AgentTokenTable;
  bindings: BindingTable;
  leases: LeaseTable;
  grant_policies: GrantPolicyTable;
  revisions: RevisionTable;
  locks: LockTable;
  sessions: SessionTable;
  grant_activity: ActivityTable;
  questions: QuestionTable;
  audit_ends: AuditEndTable;
}

/** See `AuditEndRecord`. */
interface AuditEndTable {
  log: string;
  node: string;
  seq: number;
  sealed: Uint8Array;
}

/** Named values of the store itself. */
interface MetaTable {
  name: string;
  value: Uint8Array;
}

/** Grants: see `Grant` for what the columns mean. */
export interface GrantTable {
  id: string;
  name: string;
  user: string;
  provider: string;
  type: string;
  state: string;
  state_reason: string | null;
  /** JSON array of texts. */
  scopes: string;
  expires_at: number | null;
  refreshable: number;
  revision: number;
  created_at: number;
  updated_at: number;
  sealed: Uint8Array;
}

/** See `AgentRecord`. */
export interface AgentTable {
  name: string;
  user: string | null;
  /** JSON array of texts. */
  labels: string;
  disabled_at: number | null;
  created_at: number;
}

/** See `AgentTokenRecord`. Gone with its agent, as bindings and leases are. */
export interface AgentTokenTable {
  id: string;
  agent: string;
  label: string;
  hash: Uint8Array;
  created_at: number;
  expires_at: number | null;
  used_at: number | null;
  revoked_at: number | null;
}

/** See `Binding`. One that names a grant that is gone stands for nothing: ids never come again. */
export interface BindingTable {
  agent: string;
  kind: string;
  value: string;
  created_at: number;
}

/** See `Lease`. */
export interface LeaseTable {
  id: string;
  agent: string;
  token_hash: Uint8Array;
  /** JSON array of ids. */
  grants: string;
  purpose: string;
  created_at: number;
  expires_at: number;
  idle_ms: number | null;
  renewed_at: number | null;
  used_at: number | null;
  max_uses: number | null;
  uses: number;
  revoked_at: number | null;
}

/** See `GrantPolicy`. */
export interface GrantPolicyTable {
  grant_id: string;
  expires_at: number | null;
  default_ttl_ms: number | null;
  max_ttl_ms: number | null;
  lease_default_ms: number | null;
  lease_max_ms: number | null;
  /** JSON array of texts. */
  labels: string;
}

/** Numbers that grow when something of theirs changes: `rights`, see `RightsStore.revision`. */
interface RevisionTable {
  name: string;
  value: number;
}

/** Locks over all processes of the store. */
interface LockTable {
  name: string;
  holder: string;
  expires_at: number;
}

/** Consents that wait for their answer. */
interface SessionTable {
  id: string;
  expires_at: number;
  sealed: Uint8Array;
}

/** See `GrantActivity`. Apart from the grants, whose revision says that something sealed has changed. */
interface ActivityTable {
  grant_id: string;
  used_at: number | null;
  refreshed_at: number | null;
  failed_at: number | null;
  failure: string | null;
  lacked_at: number | null;
  /** Scopes, which have no blanks, with a blank between. */
  lacked: string | null;
}

/** Questions with their answers, and what stands of those: see `Question`, `Answer` and `StandingApproval`. */
export interface QuestionTable {
  id: string;
  exchange: string;
  asked_at: number;
  expires_at: number;
  alive_until: number;
  agent: string | null;
  lease: string | null;
  grant_id: string;
  rule_key: string;
  method: string;
  scheme: string;
  authority: string;
  path: string;
  has_query: number;
  query: string | null;
  body_bytes: number | null;
  grant_name: string;
  grant_user: string;
  provider: string;
  client: string;
  reason: string | null;
  purpose: string | null;
  rule: string;
  rule_name: string | null;
  answered_at: number | null;
  answered_by: string | null;
  /** `denied`, or how far a yes reaches: `once`, `lease`, `until`. */
  answer: string | null;
  /** Of `until`. */
  until: number | null;
  /** 1: the answer is a yes that reaches further than its question, and nobody has ended it. */
  stands: number;
}

/**
 * How the schema of a store stands to what this program knows.
 * - `none`: no migration was ever run: not a store.
 * - `behind`: an older version's; `migrate` brings it up to date.
 * - `newer`: a migration was run that this program has never heard of.
 */
type SchemaState = 'none' | 'behind' | 'current' | 'newer';

/** Reads which migrations were run. Throws what the driver throws where there is no table of them. */
export async function schemaState(db: Kysely<Schema>, known: Migrations): Promise<SchemaState> {
  const rows = await db
    .withTables<{ [DEFAULT_MIGRATION_TABLE]: { name: string } }>()
    .selectFrom(DEFAULT_MIGRATION_TABLE)
    .select('name')
    .execute();
  const executed = new Set(rows.map((row) => row.name));
  if (executed.size === 0) return 'none';
  if ([...executed].some((name) => !Object.hasOwn(known, name))) return 'newer';
  return Object.keys(known).every((name) => executed.has(name)) ? 'current' : 'behind';
}

/**
 * Runs the migrations that are missing. It opens no transaction: the caller has one, or a database that nobody else
 * can see yet. Throws what went wrong; the caller rolls back.
 */
export async function migrate(db: Kysely<Schema>, known: Migrations): Promise<void> {
  const migrator = new Migrator({ db, provider: { getMigrations: () => Promise.resolve({ ...known }) } });
  const { error } = await migrator.migrateToLatest();
  if (error !== undefined) throw error;
}
