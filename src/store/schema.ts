import type { Kysely } from 'kysely';
import { DEFAULT_MIGRATION_TABLE, Migrator } from 'kysely/migration';
import type { Asking, Question } from '../approvals/approval.ts';
import type { Migrations } from './migrations.ts';
import type {
  AgentRecord,
  AgentTokenRecord,
  AuditEndRecord,
  BindingRecord,
  GrantActivity,
  GrantPolicy,
  GrantRecord,
  LeaseRecord,
  SessionRecord,
} from './store.ts';

/**
 * The tables, in types that every SQL database has: times are integers of milliseconds, truth is 0 or 1, lists are
 * JSON text. Names, owners and ends are columns; everything secret is inside `sealed`. Names are snake_case in the
 * database (`grant_id`): Kysely's `CamelCasePlugin` translates them.
 */
export interface Schema {
  /** Named values of the store itself. */
  meta: { name: string; value: Uint8Array };
  grants: GrantRow;
  agents: AgentRow;
  /** Removed with their agent, as bindings and leases are. */
  agentTokens: AgentTokenRecord;
  /** A binding to a grant that was removed binds nothing: ids never come again. */
  bindings: BindingRow;
  leases: LeaseRow;
  grantPolicies: PolicyRow;
  /** Numbers that grow with every change: `rights`, see `RightsStore.revision`. */
  revisions: { name: string; value: number };
  /** Locks over all processes of the store. */
  locks: { name: string; holder: string; expiresAt: number };
  /** Consents that wait for their answer. */
  sessions: SessionRecord;
  grantActivity: ActivityRow;
  questions: QuestionRow;
  auditEnds: AuditEndRecord;
}

/** A record with some members in the form of their columns. */
type Stored<Record, Columns> = Omit<Record, keyof Columns> & Columns;

/** A grant; `scopes` is a JSON array of texts. */
export type GrantRow = Stored<
  GrantRecord,
  { type: string; state: string; scopes: string; refreshable: number }
>;
/** An agent; `labels` is a JSON array of texts. */
export type AgentRow = Stored<AgentRecord, { labels: string }>;
/** A binding of an agent. */
export type BindingRow = Stored<BindingRecord, { kind: string }>;
/** A lease; `grants` is a JSON array of ids. */
export type LeaseRow = Stored<LeaseRecord, { grants: string }>;
/** The policy of a grant; `labels` is a JSON array of texts. */
export type PolicyRow = Stored<GrantPolicy, { labels: string }>;
/** The activity of a grant; `lacked` has a space between scopes. It is no part of the grant, whose revision is that of the seal. */
export type ActivityRow = Stored<GrantActivity, { lacked: string | null }>;

/** A question, its answer, and whether the answer stands. */
export type QuestionRow = Stored<
  Omit<Question, 'who'> & Asking,
  {
    scheme: string;
    hasQuery: number;
    answeredAt: number | null;
    answeredBy: string | null;
    /** `denied`, or the reach of a yes: `once`, `lease`, `until`. */
    answer: string | null;
    /** Of `until`. */
    until: number | null;
    /** 1: the answer is a yes that reaches beyond its question, and nobody has revoked it. */
    stands: number;
  }
>;

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
