import { randomUUID } from 'node:crypto';
import {
  type ColumnDataType,
  type ColumnDefinitionBuilder,
  type CreateTableBuilder,
  type Kysely,
  sql,
} from 'kysely';
import { DEFAULT_MIGRATION_TABLE, type Migration, Migrator } from 'kysely/migration';
import type { Schema } from './schema.ts';

/** Migrations by name. They run in the order of their names. A released migration never changes. */
export type Migrations = Readonly<Record<string, Migration>>;

/** Column types that databases name differently. */
interface ColumnTypes {
  readonly binary: ColumnDataType;
}

/**
 * Returns all migrations, which are part of the program. `schema.ts` explains the columns. Rows are removed
 * with their agent, lease and grant, so that a new one of the same name inherits no right.
 */
export function migrations(types: ColumnTypes): Migrations {
  const table = (name: string, columns: string, finish?: Finish) => createTable(types, name, columns, finish);
  return {
    '0001-first': migration(
      table('meta', 'name text key, value binary'),
      table(
        'grants',
        `id text key, name text, user text, provider text, type text, state text, state_reason text?,
        scopes text, expires_at bigint?, refreshable integer, revision bigint, created_at bigint,
        updated_at bigint, sealed binary`,
        (made) => made.addUniqueConstraint('grants_user_name', ['user', 'name']),
      ),
      table('agents', 'name text key, token_hash binary, created_at bigint'),
      table('locks', 'name text key, holder text, expires_at bigint'),
    ),
    '0002-connect': migration(
      table('sessions', 'id text key, expires_at bigint, sealed binary'),
      table(
        'grant_activity',
        `grant_id text key grants.id, used_at bigint?, refreshed_at bigint?, failed_at bigint?, failure text?`,
      ),
    ),
    '0003-rights': migration((db) => rights(db, table)),
    '0004-approvals': migration(
      table(
        'questions',
        `id text key, exchange text, asked_at bigint, expires_at bigint, alive_until bigint,
        agent text? agents.name, lease text? leases.id, grant_id text grants.id, rule_key text, method text,
        scheme text, authority text, path text, has_query integer, body_bytes bigint?, grant_name text,
        grant_user text, provider text, client text, reason text?, purpose text?, rule text, rule_name text?,
        answered_at bigint?, answered_by text?, answer text?, until bigint?, stands integer`,
      ),
    ),
    // SQLite adds one column per statement.
    '0005-lacked-scopes': migration(
      addColumn('grant_activity', 'lacked_at bigint?'),
      addColumn('grant_activity', 'lacked text?'),
    ),
    '0006-audit-ends': migration(
      table('audit_ends', 'log text, node text, seq bigint, sealed binary', (made) =>
        made.addPrimaryKeyConstraint('audit_ends_key', ['log', 'node']),
      ),
    ),
    '0007-approval-query': migration(addColumn('questions', 'query text?')),
    '0008-metadata': migration(addColumn('grant_policies', 'metadata text', '[]')),
    '0009-api-keys': migration(
      table(
        'api_keys',
        `name text key, hash binary unique, role text, scopes text?, user text?, person text?,
        created_at bigint, expires_at bigint?, used_at bigint?`,
      ),
    ),
    '0010-people': migration(
      table('people', 'name text key, role text, user text?, disabled_at bigint?, created_at bigint'),
      table(
        'passkeys',
        `id text key, person text people.name, public_key binary, counter bigint, label text,
        created_at bigint, used_at bigint?`,
      ),
    ),
    '0011-proposals': migration(
      table(
        'proposals',
        `id text key, agent text? agents.name, lease text? leases.id, change text, reason text, client text,
        asked_at bigint, expires_at bigint, answered_at bigint?, answered_by text?, outcome text?,
        until bigint?, used_at bigint?`,
      ),
    ),
    '0012-grants-of-leases': migration(addColumn('grants', 'lease text? leases.id')),
    '0014-nodes': migration(
      table(
        'nodes',
        `id text key, name text unique, source text, key_id text, version text, joined_at bigint,
        seen_at bigint`,
      ),
      table('enrolments', 'id text key, name text, sealed binary, request text?, expires_at bigint'),
    ),
    // Logs have ids instead of paths; each writer stores the end of its chain anew.
    '0015-audit-log-ids': migration((db) =>
      db.withTables<{ audit_ends: object }>().deleteFrom('audit_ends').execute(),
    ),
    '0017-identities': migration(addColumn('people', 'identity text?'), (db) =>
      db.schema.createIndex('people_identity').on('people').column('identity').unique().execute(),
    ),
    '0018-agent-uses': migration(table('agent_uses', 'id text key agents.name, used_at bigint?')),
    '0019-operations': migration(addColumn('questions', 'operation text?')),
    '0020-approval-fields': migration(addColumn('questions', 'fields text?')),
    '0021-generations': migration(addColumn('people', 'generation bigint', 0)),
    '0022-token-uses': migration(
      table(
        'token_uses',
        'grant_id text grants.id, token text, lease text, noted_at bigint, attempts integer, due_at bigint?',
        (made) => made.addPrimaryKeyConstraint('token_uses_key', ['grant_id', 'token', 'lease']),
      ),
    ),
    '0023-grant-indexes': migration(
      (db) => db.schema.createIndex('grants_name').on('grants').columns(['name', 'user']).execute(),
      (db) => db.schema.createIndex('grants_provider').on('grants').columns(['provider', 'user']).execute(),
    ),
    // `grant-checks.ts` counts and finds grants by these.
    '0025-grant-checks': migration(
      createIndex('grants', 'state', 'refreshable', 'expires_at'),
      createIndex('grants', 'type', 'state'),
      createIndex('grants', 'provider', 'updated_at'),
      createIndex('grant_activity', 'failed_at'),
      createIndex('grant_activity', 'lacked_at'),
      createIndex('grant_policies', 'expires_at'),
    ),
    // All stored grants are due, so the schedule reads each once and stores its times.
    '0027-refresh-times': migration(
      addColumn('grants', 'due_at bigint?', 0),
      addColumn('grants', 'obtained_at bigint?'),
      createIndex('grants', 'due_at', 'id'),
      createIndex('grants', 'provider', 'obtained_at', 'id'),
    ),
    // Pages of lists, the count of leases that are not revoked, and the leases of an agent and ended ones.
    '0029-lists': migration(
      createIndex('leases', 'expires_at', 'id', 'revoked_at'),
      createIndex('leases', 'agent', 'expires_at', 'id'),
      createIndex('proposals', 'asked_at', 'id'),
    ),
    // What belongs to a lease, and what limits leases of an agent with many grants.
    '0030-grants-of-leases': migration(
      (db) => sql`create index grants_lease on grants (lease, id) where lease is not null`.execute(db),
      createIndex('token_uses', 'lease', 'grant_id', 'token'),
      createIndex('token_uses', 'token'),
      createIndex('grant_policies', 'lease_max_ms', 'grant_id'),
      (db) =>
        sql`create index grant_policies_labels on grant_policies (labels, grant_id) where labels <> '[]'`.execute(
          db,
        ),
    ),
    // Requests find rights by these.
    '0031-rights-indexes': migration(
      createIndex('agent_tokens', 'hash'),
      createIndex('agent_tokens', 'agent'),
      createIndex('leases', 'token_hash'),
      ...['questions', 'proposals'].map((table) => createIndex(table, 'lease')),
    ),
    // SQLite has the column for copies between the databases.
    '0032-changed-in': migration(addColumn('grants', 'changed_in bigint?')),
    // The grants of a provider in the order of lists.
    '0033-provider-names': migration(createIndex('grants', 'provider', 'name', 'user')),
    // Grants that may name a file.
    '0036-fileless': migration(addColumn('grants', 'fileless_in bigint?'), (db) =>
      sql`create index grants_fileless_in on grants (id)
        where coalesce(type, '') in ('source', 'oauth2') and coalesce(fileless_in, 0) <> revision`.execute(
        db,
      ),
    ),
    // The agents that reach a grant.
    '0037-bindings': migration(createIndex('bindings', 'kind', 'value', 'agent')),
    // Pages and counts of approvals and proposals, and the removal of what has ended. Texts without a bound,
    // such as the key of a rule, do not fit in an index of PostgreSQL.
    '0038-approval-lists': migration(
      (db) =>
        sql`create index questions_waiting on questions (asked_at, id) where answer is null`.execute(db),
      createIndex('questions', 'agent', 'answer'),
      createIndex('questions', 'grant_id', 'agent', 'lease', 'stands', 'answered_at', 'id'),
      createIndex('questions', 'stands', 'answered_at', 'id'),
      createIndex('questions', 'asked_at'),
      createIndex('proposals', 'agent', 'asked_at', 'id'),
      createIndex('proposals', 'agent', 'lease', 'asked_at'),
      createIndex('proposals', 'agent', 'outcome', 'expires_at'),
      createIndex('proposals', 'outcome', 'until', 'expires_at'),
      createIndex('proposals', 'expires_at'),
      createIndex('sessions', 'expires_at'),
    ),
    // Look-ups by person.
    '0039-people': migration(
      createIndex('api_keys', 'person', 'expires_at'),
      createIndex('passkeys', 'person', 'created_at', 'id'),
    ),
    // The minted grants of a parent, and of a lease. The counts of `grant-checks.ts` leave them out.
    '0040-minted-grants': migration(
      addColumn('grants', 'parent text?'),
      addColumn('grants', 'mint text?'),
      (db) =>
        sql`create index grants_parent on grants (parent, coalesce(lease, ''), id) where parent is not null`.execute(
          db,
        ),
      (db) => db.schema.dropIndex('grants_state_refreshable_expires_at').execute(),
      createIndex('grants', 'state', 'refreshable', 'expires_at', 'parent'),
    ),
  };
}

/** A statement of a migration. */
type Step = (db: Kysely<unknown>) => Promise<unknown>;

function migration(...steps: readonly Step[]): Migration {
  return {
    async up(db: Kysely<unknown>): Promise<void> {
      for (const step of steps) await step(db);
    },
  };
}

/** Adds the constraints of several columns. */
type Finish = (made: CreateTableBuilder<string, string>) => CreateTableBuilder<string, string>;

/** @param columns texts for `columnOf`, with commas between them */
function createTable(
  types: ColumnTypes,
  name: string,
  columns: string,
  finish: Finish = (made) => made,
): Step {
  return (db) => {
    let made: CreateTableBuilder<string, string> = db.schema.createTable(name);
    for (const text of columns.split(/,\s*/)) {
      const { column, type, build } = columnOf(text);
      made = made.addColumn(column, type === 'binary' ? types.binary : type, build);
    }
    return finish(made).execute();
  };
}

function createIndex(table: string, ...columns: readonly string[]): Step {
  const name = [table, ...columns].join('_');
  return (db) =>
    db.schema
      .createIndex(name)
      .on(table)
      .columns([...columns])
      .execute();
}

/** @param initial value in the rows that exist; absent: null */
function addColumn(table: string, text: string, initial?: string | number): Step {
  const { column, type, build } = columnOf(text);
  return (db) =>
    db.schema
      .alterTable(table)
      .addColumn(column, type, (made) =>
        initial === undefined ? build(made) : build(made).defaultTo(initial),
      )
      .execute();
}

/**
 * Parses `NAME TYPE`; a `?` after the type allows null. Further words: `key` for the primary key, `unique`,
 * or `TABLE.COLUMN`, which the column refers to.
 */
function columnOf(text: string) {
  const [column = '', type = '', ...words] = text.split(' ');
  const build = (made: ColumnDefinitionBuilder): ColumnDefinitionBuilder =>
    words.reduce(
      (before, word) => {
        if (word === 'key') return before.primaryKey();
        return word === 'unique' ? before.unique() : before.references(word).onDelete('cascade');
      },
      type.endsWith('?') ? made : made.notNull(),
    );
  return { column, type: type.replace('?', '') as ColumnDataType, build };
}

/**
 * Agents with several tokens, bindings and leases; policies of grants. Existing agents keep their token, and
 * get a binding to everything, which preserves their rights.
 */
async function rights(
  untyped: Kysely<unknown>,
  table: (name: string, columns: string, finish?: Finish) => Step,
): Promise<void> {
  const db = untyped.withTables<{
    agents: { name: string; token_hash: Uint8Array; created_at: number };
    agent_tokens: { id: string; agent: string; label: string; hash: Uint8Array; created_at: number };
    bindings: { agent: string; kind: string; value: string; created_at: number };
    revisions: { name: string; value: number };
  }>();
  const agents = await db.selectFrom('agents').selectAll().execute();
  const steps = [
    () => db.schema.alterTable('agents').dropColumn('token_hash').execute(),
    addColumn('agents', 'user text?'),
    addColumn('agents', 'labels text', '[]'),
    addColumn('agents', 'disabled_at bigint?'),
    table(
      'agent_tokens',
      `id text key, agent text agents.name, label text, hash binary, created_at bigint, expires_at bigint?,
      used_at bigint?, revoked_at bigint?`,
    ),
    table('bindings', 'agent text agents.name, kind text, value text, created_at bigint', (made) =>
      made.addPrimaryKeyConstraint('bindings_key', ['agent', 'kind', 'value']),
    ),
    table(
      'leases',
      `id text key, agent text agents.name, token_hash binary, grants text, purpose text, created_at bigint,
      expires_at bigint, idle_ms bigint?, renewed_at bigint?, used_at bigint?, max_uses bigint?, uses bigint,
      revoked_at bigint?`,
    ),
    table(
      'grant_policies',
      `grant_id text key grants.id, expires_at bigint?, default_ttl_ms bigint?, max_ttl_ms bigint?,
      lease_default_ms bigint?, lease_max_ms bigint?, labels text`,
    ),
    table('revisions', 'name text key, value bigint'),
  ];
  for (const step of steps) await step(untyped);
  await db.insertInto('revisions').values({ name: 'rights', value: 1 }).execute();
  for (const { name, token_hash, created_at } of agents) {
    await db
      .insertInto('agent_tokens')
      .values({ id: randomUUID(), agent: name, label: 'main', hash: token_hash, created_at })
      .execute();
    await db
      .insertInto('bindings')
      .values({ agent: name, kind: 'everything', value: '*', created_at })
      .execute();
  }
}

/**
 * State of a store's schema, compared with that of this program.
 * - `none`: no migration was run, so this is not a store.
 * - `behind`: migrations are missing; `migrate` runs them.
 * - `newer`: an unknown migration was run.
 */
type SchemaState = 'none' | 'behind' | 'current' | 'newer';

/** Compares executed with known migrations. Throws an error of the driver if their table is missing. */
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

/** Runs the missing migrations; in SQLite, in the transaction of its caller. Throws their errors. */
export async function migrate(db: Kysely<Schema>, known: Migrations): Promise<void> {
  const migrator = new Migrator({ db, provider: { getMigrations: () => Promise.resolve({ ...known }) } });
  const { error } = await migrator.migrateToLatest();
  if (error !== undefined) throw error;
}
