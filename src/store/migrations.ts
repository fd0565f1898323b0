import { randomUUID } from 'node:crypto';
import type { ColumnDataType, Kysely } from 'kysely';
import { DEFAULT_MIGRATION_TABLE, type Migration, Migrator } from 'kysely/migration';
import type { Schema } from './schema.ts';

/** Migrations by name. They run in the order of their names. A released migration never changes. */
export type Migrations = Readonly<Record<string, Migration>>;

/** Returns all migrations, which are part of the program. */
export function migrations(types: ColumnTypes): Migrations {
  return {
    '0001-first': first(types),
    '0002-connect': connect(types),
    '0003-rights': rights(types),
    '0004-approvals': approvals(),
    '0005-lacked-scopes': lackedScopes(),
    '0006-audit-ends': auditEnds(types),
    '0007-approval-query': questionColumn('query'),
    '0008-metadata': metadata(),
    '0009-api-keys': apiKeys(types),
    '0010-people': people(types),
    '0011-proposals': proposals(),
    '0012-grants-of-leases': grantsOfLeases(),
    '0014-nodes': nodes(types),
    '0015-audit-log-ids': auditLogIds(),
    '0017-identities': identities(),
    '0018-agent-uses': agentUses(),
    '0019-operations': questionColumn('operation'),
    '0020-approval-fields': questionColumn('fields'),
    '0021-generations': generations(),
  };
}

/** Creates the first tables; `schema.ts` explains the columns. */
function first(types: ColumnTypes): Migration {
  return {
    async up(db: Kysely<unknown>): Promise<void> {
      await db.schema
        .createTable('meta')
        .addColumn('name', 'text', (column) => column.primaryKey().notNull())
        .addColumn('value', types.binary, (column) => column.notNull())
        .execute();
      await db.schema
        .createTable('grants')
        .addColumn('id', 'text', (column) => column.primaryKey().notNull())
        .addColumn('name', 'text', (column) => column.notNull())
        .addColumn('user', 'text', (column) => column.notNull())
        .addColumn('provider', 'text', (column) => column.notNull())
        .addColumn('type', 'text', (column) => column.notNull())
        .addColumn('state', 'text', (column) => column.notNull())
        .addColumn('state_reason', 'text')
        .addColumn('scopes', 'text', (column) => column.notNull())
        .addColumn('expires_at', 'bigint')
        .addColumn('refreshable', 'integer', (column) => column.notNull())
        .addColumn('revision', 'bigint', (column) => column.notNull())
        .addColumn('created_at', 'bigint', (column) => column.notNull())
        .addColumn('updated_at', 'bigint', (column) => column.notNull())
        .addColumn('sealed', types.binary, (column) => column.notNull())
        .addUniqueConstraint('grants_user_name', ['user', 'name'])
        .execute();
      await db.schema
        .createTable('agents')
        .addColumn('name', 'text', (column) => column.primaryKey().notNull())
        .addColumn('token_hash', types.binary, (column) => column.notNull())
        .addColumn('created_at', 'bigint', (column) => column.notNull())
        .execute();
      await db.schema
        .createTable('locks')
        .addColumn('name', 'text', (column) => column.primaryKey().notNull())
        .addColumn('holder', 'text', (column) => column.notNull())
        .addColumn('expires_at', 'bigint', (column) => column.notNull())
        .execute();
    },
  };
}

/** Adds pending consents, and the activity of grants; `schema.ts` explains the columns. */
function connect(types: ColumnTypes): Migration {
  return {
    async up(db: Kysely<unknown>): Promise<void> {
      await db.schema
        .createTable('sessions')
        .addColumn('id', 'text', (column) => column.primaryKey().notNull())
        .addColumn('expires_at', 'bigint', (column) => column.notNull())
        .addColumn('sealed', types.binary, (column) => column.notNull())
        .execute();
      await db.schema
        .createTable('grant_activity')
        // Removed with its grant, so that late activity of a removed grant has no effect.
        .addColumn('grant_id', 'text', (column) =>
          column.primaryKey().notNull().references('grants.id').onDelete('cascade'),
        )
        .addColumn('used_at', 'bigint')
        .addColumn('refreshed_at', 'bigint')
        .addColumn('failed_at', 'bigint')
        .addColumn('failure', 'text')
        .execute();
    },
  };
}

/**
 * Agents with several tokens, bindings and leases; policies of grants; `schema.ts` explains the columns.
 * Existing agents keep their token, and get a binding to everything, which preserves their rights.
 */
function rights(types: ColumnTypes): Migration {
  return {
    async up(untyped: Kysely<unknown>): Promise<void> {
      const db = untyped.withTables<{
        agents: { name: string; token_hash: Uint8Array; created_at: number };
        agent_tokens: { id: string; agent: string; label: string; hash: Uint8Array; created_at: number };
        bindings: { agent: string; kind: string; value: string; created_at: number };
        revisions: { name: string; value: number };
      }>();
      const agents = await db.selectFrom('agents').selectAll().execute();
      await db.schema.alterTable('agents').dropColumn('token_hash').execute();
      await db.schema.alterTable('agents').addColumn('user', 'text').execute();
      await db.schema
        .alterTable('agents')
        .addColumn('labels', 'text', (column) => column.notNull().defaultTo('[]'))
        .execute();
      await db.schema.alterTable('agents').addColumn('disabled_at', 'bigint').execute();
      await db.schema
        .createTable('agent_tokens')
        .addColumn('id', 'text', (column) => column.primaryKey().notNull())
        .addColumn('agent', 'text', (column) =>
          column.notNull().references('agents.name').onDelete('cascade'),
        )
        .addColumn('label', 'text', (column) => column.notNull())
        .addColumn('hash', types.binary, (column) => column.notNull())
        .addColumn('created_at', 'bigint', (column) => column.notNull())
        .addColumn('expires_at', 'bigint')
        .addColumn('used_at', 'bigint')
        .addColumn('revoked_at', 'bigint')
        .execute();
      await db.schema
        .createTable('bindings')
        .addColumn('agent', 'text', (column) =>
          column.notNull().references('agents.name').onDelete('cascade'),
        )
        .addColumn('kind', 'text', (column) => column.notNull())
        .addColumn('value', 'text', (column) => column.notNull())
        .addColumn('created_at', 'bigint', (column) => column.notNull())
        .addPrimaryKeyConstraint('bindings_key', ['agent', 'kind', 'value'])
        .execute();
      await db.schema
        .createTable('leases')
        .addColumn('id', 'text', (column) => column.primaryKey().notNull())
        .addColumn('agent', 'text', (column) =>
          column.notNull().references('agents.name').onDelete('cascade'),
        )
        .addColumn('token_hash', types.binary, (column) => column.notNull())
        .addColumn('grants', 'text', (column) => column.notNull())
        .addColumn('purpose', 'text', (column) => column.notNull())
        .addColumn('created_at', 'bigint', (column) => column.notNull())
        .addColumn('expires_at', 'bigint', (column) => column.notNull())
        .addColumn('idle_ms', 'bigint')
        .addColumn('renewed_at', 'bigint')
        .addColumn('used_at', 'bigint')
        .addColumn('max_uses', 'bigint')
        .addColumn('uses', 'bigint', (column) => column.notNull())
        .addColumn('revoked_at', 'bigint')
        .execute();
      await db.schema
        .createTable('grant_policies')
        .addColumn('grant_id', 'text', (column) =>
          column.primaryKey().notNull().references('grants.id').onDelete('cascade'),
        )
        .addColumn('expires_at', 'bigint')
        .addColumn('default_ttl_ms', 'bigint')
        .addColumn('max_ttl_ms', 'bigint')
        .addColumn('lease_default_ms', 'bigint')
        .addColumn('lease_max_ms', 'bigint')
        .addColumn('labels', 'text', (column) => column.notNull())
        .execute();
      await db.schema
        .createTable('revisions')
        .addColumn('name', 'text', (column) => column.primaryKey().notNull())
        .addColumn('value', 'bigint', (column) => column.notNull())
        .execute();
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
    },
  };
}

/**
 * Adds pending requests and approvals; `schema.ts` explains the columns. They are removed with their agent,
 * lease and grant, so that a new one of the same name inherits no approval.
 */
function approvals(): Migration {
  return {
    async up(db: Kysely<unknown>): Promise<void> {
      await db.schema
        .createTable('questions')
        .addColumn('id', 'text', (column) => column.primaryKey().notNull())
        .addColumn('exchange', 'text', (column) => column.notNull())
        .addColumn('asked_at', 'bigint', (column) => column.notNull())
        .addColumn('expires_at', 'bigint', (column) => column.notNull())
        .addColumn('alive_until', 'bigint', (column) => column.notNull())
        .addColumn('agent', 'text', (column) => column.references('agents.name').onDelete('cascade'))
        .addColumn('lease', 'text', (column) => column.references('leases.id').onDelete('cascade'))
        .addColumn('grant_id', 'text', (column) =>
          column.notNull().references('grants.id').onDelete('cascade'),
        )
        .addColumn('rule_key', 'text', (column) => column.notNull())
        .addColumn('method', 'text', (column) => column.notNull())
        .addColumn('scheme', 'text', (column) => column.notNull())
        .addColumn('authority', 'text', (column) => column.notNull())
        .addColumn('path', 'text', (column) => column.notNull())
        .addColumn('has_query', 'integer', (column) => column.notNull())
        .addColumn('body_bytes', 'bigint')
        .addColumn('grant_name', 'text', (column) => column.notNull())
        .addColumn('grant_user', 'text', (column) => column.notNull())
        .addColumn('provider', 'text', (column) => column.notNull())
        .addColumn('client', 'text', (column) => column.notNull())
        .addColumn('reason', 'text')
        .addColumn('purpose', 'text')
        .addColumn('rule', 'text', (column) => column.notNull())
        .addColumn('rule_name', 'text')
        .addColumn('answered_at', 'bigint')
        .addColumn('answered_by', 'text')
        .addColumn('answer', 'text')
        .addColumn('until', 'bigint')
        .addColumn('stands', 'integer', (column) => column.notNull())
        .execute();
    },
  };
}

/** Adds missing scopes that an upstream reported; `schema.ts` explains the columns. */
function lackedScopes(): Migration {
  return {
    async up(db: Kysely<unknown>): Promise<void> {
      // SQLite adds one column per statement.
      await db.schema.alterTable('grant_activity').addColumn('lacked_at', 'bigint').execute();
      await db.schema.alterTable('grant_activity').addColumn('lacked', 'text').execute();
    },
  };
}

/** Adds the table of the ends of audit chains; `schema.ts` explains the columns. */
function auditEnds(types: ColumnTypes): Migration {
  return {
    async up(db: Kysely<unknown>): Promise<void> {
      await db.schema
        .createTable('audit_ends')
        .addColumn('log', 'text', (column) => column.notNull())
        .addColumn('node', 'text', (column) => column.notNull())
        .addColumn('seq', 'bigint', (column) => column.notNull())
        .addColumn('sealed', types.binary, (column) => column.notNull())
        .addPrimaryKeyConstraint('audit_ends_key', ['log', 'node'])
        .execute();
    },
  };
}

/** Adds a text of a pending request; `schema.ts` explains the columns. */
function questionColumn(name: string): Migration {
  return {
    async up(db: Kysely<unknown>): Promise<void> {
      await db.schema.alterTable('questions').addColumn(name, 'text').execute();
    },
  };
}

/** Adds the metadata of a grant: a JSON array of `KEY=VALUE`. */
function metadata(): Migration {
  return {
    async up(db: Kysely<unknown>): Promise<void> {
      await db.schema
        .alterTable('grant_policies')
        .addColumn('metadata', 'text', (column) => column.notNull().defaultTo('[]'))
        .execute();
    },
  };
}

/** Adds keys of the API; `schema.ts` explains the columns. */
function apiKeys(types: ColumnTypes): Migration {
  return {
    async up(db: Kysely<unknown>): Promise<void> {
      await db.schema
        .createTable('api_keys')
        .addColumn('name', 'text', (column) => column.primaryKey().notNull())
        .addColumn('hash', types.binary, (column) => column.notNull().unique())
        .addColumn('role', 'text', (column) => column.notNull())
        .addColumn('scopes', 'text')
        .addColumn('user', 'text')
        .addColumn('person', 'text')
        .addColumn('created_at', 'bigint', (column) => column.notNull())
        .addColumn('expires_at', 'bigint')
        .addColumn('used_at', 'bigint')
        .execute();
    },
  };
}

/** Adds people who sign in at the pages, and their passkeys; `schema.ts` explains the columns. */
function people(types: ColumnTypes): Migration {
  return {
    async up(db: Kysely<unknown>): Promise<void> {
      await db.schema
        .createTable('people')
        .addColumn('name', 'text', (column) => column.primaryKey().notNull())
        .addColumn('role', 'text', (column) => column.notNull())
        .addColumn('user', 'text')
        .addColumn('disabled_at', 'bigint')
        .addColumn('created_at', 'bigint', (column) => column.notNull())
        .execute();
      await db.schema
        .createTable('passkeys')
        .addColumn('id', 'text', (column) => column.primaryKey().notNull())
        .addColumn('person', 'text', (column) =>
          column.notNull().references('people.name').onDelete('cascade'),
        )
        .addColumn('public_key', types.binary, (column) => column.notNull())
        .addColumn('counter', 'bigint', (column) => column.notNull())
        .addColumn('label', 'text', (column) => column.notNull())
        .addColumn('created_at', 'bigint', (column) => column.notNull())
        .addColumn('used_at', 'bigint')
        .execute();
    },
  };
}

/** Adds changes that agents propose; `schema.ts` explains the columns. */
function proposals(): Migration {
  return {
    async up(db: Kysely<unknown>): Promise<void> {
      await db.schema
        .createTable('proposals')
        .addColumn('id', 'text', (column) => column.primaryKey().notNull())
        .addColumn('agent', 'text', (column) => column.references('agents.name').onDelete('cascade'))
        .addColumn('lease', 'text', (column) => column.references('leases.id').onDelete('cascade'))
        .addColumn('change', 'text', (column) => column.notNull())
        .addColumn('reason', 'text', (column) => column.notNull())
        .addColumn('client', 'text', (column) => column.notNull())
        .addColumn('asked_at', 'bigint', (column) => column.notNull())
        .addColumn('expires_at', 'bigint', (column) => column.notNull())
        .addColumn('answered_at', 'bigint')
        .addColumn('answered_by', 'text')
        .addColumn('outcome', 'text')
        .addColumn('until', 'bigint')
        .addColumn('used_at', 'bigint')
        .execute();
    },
  };
}

/** Grants of a lease, which end with it. */
function grantsOfLeases(): Migration {
  return {
    async up(db: Kysely<unknown>): Promise<void> {
      await db.schema
        .alterTable('grants')
        .addColumn('lease', 'text', (column) => column.references('leases.id').onDelete('cascade'))
        .execute();
    },
  };
}

/** Nodes of a store that several machines share; `NodeRecord` and `EnrolmentRecord` explain the columns. */
function nodes(types: ColumnTypes): Migration {
  return {
    async up(db: Kysely<unknown>): Promise<void> {
      await db.schema
        .createTable('nodes')
        .addColumn('id', 'text', (column) => column.primaryKey().notNull())
        .addColumn('name', 'text', (column) => column.notNull().unique())
        .addColumn('source', 'text', (column) => column.notNull())
        .addColumn('key_id', 'text', (column) => column.notNull())
        .addColumn('version', 'text', (column) => column.notNull())
        .addColumn('joined_at', 'bigint', (column) => column.notNull())
        .addColumn('seen_at', 'bigint', (column) => column.notNull())
        .execute();
      await db.schema
        .createTable('enrolments')
        .addColumn('id', 'text', (column) => column.primaryKey().notNull())
        .addColumn('name', 'text', (column) => column.notNull())
        .addColumn('sealed', types.binary, (column) => column.notNull())
        .addColumn('request', 'text')
        .addColumn('expires_at', 'bigint', (column) => column.notNull())
        .execute();
    },
  };
}

/** Logs have ids instead of paths; each writer stores the end of its chain anew. */
function auditLogIds(): Migration {
  return {
    async up(db: Kysely<Record<'audit_ends', unknown>>): Promise<void> {
      await db.deleteFrom('audit_ends').execute();
    },
  };
}

/** Accounts of people at an OpenID provider; `schema.ts` explains the columns. */
function identities(): Migration {
  return {
    async up(db: Kysely<unknown>): Promise<void> {
      await db.schema.alterTable('people').addColumn('identity', 'text').execute();
      await db.schema.createIndex('people_identity').on('people').column('identity').unique().execute();
    },
  };
}

/** Adds uses of agents by OIDC tokens; `schema.ts` explains the columns. */
function agentUses(): Migration {
  return {
    async up(db: Kysely<unknown>): Promise<void> {
      await db.schema
        .createTable('agent_uses')
        .addColumn('id', 'text', (column) =>
          column.primaryKey().notNull().references('agents.name').onDelete('cascade'),
        )
        .addColumn('used_at', 'bigint')
        .execute();
    },
  };
}

/** Adds the generation of sign-ins, with which all sign-ins of a person can be ended. */
function generations(): Migration {
  return {
    async up(db: Kysely<unknown>): Promise<void> {
      await db.schema
        .alterTable('people')
        .addColumn('generation', 'bigint', (column) => column.notNull().defaultTo(0))
        .execute();
    },
  };
}

/** Column types that databases name differently. */
interface ColumnTypes {
  readonly binary: ColumnDataType;
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
