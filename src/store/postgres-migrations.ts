import { type Kysely, sql } from 'kysely';
import { type Migrations, migrations } from './migrations.ts';
import { channel, namesPrefix, notifiedTables, ofGrant, ofRight } from './change-log.ts';

const common = migrations({ binary: 'bytea' });

export const postgresMigrations: Migrations = {
  ...common,
  '0013-postgres': {
    async up(db: Kysely<unknown>): Promise<void> {
      await sql`
        create function sidekey_tell() returns trigger language plpgsql as $$
        begin
          perform pg_notify(${sql.lit(channel)}, tg_table_name);
          return null;
        end $$
      `.execute(db);
      for (const [table, events] of Object.entries(notifiedTables)) {
        await sql`
          create trigger sidekey_tell after ${sql.raw(events)} on ${sql.table(table)}
          for each statement execute function sidekey_tell()
        `.execute(db);
      }
      await sql`
        create function sidekey_tell_grant() returns trigger language plpgsql as $$
        begin
          perform pg_notify(${sql.lit(channel)}, ${sql.lit(ofGrant(''))} || coalesce(new.id, old.id));
          return null;
        end $$
      `.execute(db);
      await sql`
        create trigger sidekey_tell after insert or update or delete on grants
        for each row execute function sidekey_tell_grant()
      `.execute(db);
      // The usage of the limits of rules (`agents/quota/nodes-quota.ts`).
      await db.schema
        .createTable('counts')
        .addColumn('name', 'text', (column) => column.primaryKey().notNull())
        .addColumn('at', 'bigint', (column) => column.notNull())
        .addColumn('used', 'bigint', (column) => column.notNull())
        .addColumn('unit', 'bigint', (column) => column.notNull())
        .addColumn('bytes', 'bigint', (column) => column.notNull())
        .addColumn('stale', 'bigint', (column) => column.notNull())
        .execute();
      await db.schema.createIndex('counts_stale').on('counts').column('stale').execute();
    },
  },
  '0024-grant-names': {
    async up(db: Kysely<unknown>): Promise<void> {
      // The order of SQLite, by byte, whatever the collation of the database is.
      await sql`
        alter table grants
          alter column name type text collate "C",
          alter column "user" type text collate "C",
          alter column provider type text collate "C"
      `.execute(db);
      await sql`
        create function sidekey_tell_names() returns trigger language plpgsql as $$
        begin
          perform pg_notify(
            ${sql.lit(channel)}, ${sql.lit(namesPrefix)} || concat_ws(' ', new.name, new."user", new.provider)
          );
          return null;
        end $$
      `.execute(db);
      await sql`
        create trigger sidekey_tell_names after insert on grants
        for each row execute function sidekey_tell_names()
      `.execute(db);
      await sql`
        create trigger sidekey_tell_other_names after update on grants for each row
        when ((old.name, old."user", old.provider) is distinct from (new.name, new."user", new.provider))
        execute function sidekey_tell_names()
      `.execute(db);
    },
  },
  '0026-grant-totals': {
    async up(db: Kysely<unknown>): Promise<void> {
      // No row is kept: concurrent writers of grants would wait for each other.
      await sql`
        create view grant_totals as
        select state, refreshable, count(*) as total from grants group by state, refreshable
      `.execute(db);
    },
  },
  '0028-refresh-notices': {
    async up(db: Kysely<unknown>): Promise<void> {
      // Each write except those of `plan`, which change nothing that a process keeps.
      await sql`drop trigger sidekey_tell on grants`.execute(db);
      await sql`
        create trigger sidekey_tell after insert or delete or update of sealed on grants
        for each row execute function sidekey_tell_grant()
      `.execute(db);
    },
  },
  '0029-agent-names': {
    async up(db: Kysely<unknown>): Promise<void> {
      // The order of SQLite, as for `0024-grant-names`.
      await sql`alter table agents alter column name type text collate "C"`.execute(db);
    },
  },
  '0031-rights-notices': {
    async up(db: Kysely<unknown>): Promise<void> {
      // Besides the notifications of tables, by which older processes read all rights again.
      await sql`
        create function sidekey_tell_row() returns trigger language plpgsql as $$
        begin
          perform pg_notify(
            ${sql.lit(channel)},
            tg_argv[0] || coalesce(
              (case when tg_op = 'DELETE' then to_jsonb(old) else to_jsonb(new) end) ->> tg_argv[1], ''
            )
          );
          return null;
        end $$
      `.execute(db);
      const ofAgent = ofRight('agent');
      for (const [table, events, payload, column] of [
        ['agents', 'update or delete', ofAgent, 'name'],
        ['agent_tokens', 'delete or update of agent, hash, expires_at, revoked_at', ofAgent, 'agent'],
        ['bindings', 'insert or update or delete', ofAgent, 'agent'],
        [
          'leases',
          'update of agent, token_hash, grants, expires_at, idle_ms, renewed_at, max_uses, revoked_at',
          ofRight('lease'),
          'id',
        ],
        ['grant_policies', 'insert or update or delete', ofGrant(''), 'grant_id'],
      ] as const) {
        await sql`
          create trigger sidekey_tell_row after ${sql.raw(events)} on ${sql.table(table)}
          for each row execute function sidekey_tell_row(${sql.lit(payload)}, ${sql.lit(column)})
        `.execute(db);
      }
      // Leases are removed by the thousand, so one notification is for all.
      await sql`
        create trigger sidekey_tell_removed after delete on leases
        for each row execute function sidekey_tell_row(${sql.lit(ofRight())})
      `.execute(db);
    },
  },
  '0032-changed-in': {
    async up(db: Kysely<unknown>): Promise<void> {
      await common['0032-changed-in']?.up(db);
      await db.schema.createIndex('grants_changed_in').on('grants').column('changed_in').execute();
      // A refresh sets `changed_in`, which each process polls: a notification would wake all of them.
      await sql`drop trigger sidekey_tell on grants`.execute(db);
      await sql`
        create trigger sidekey_tell after insert or delete on grants
        for each row execute function sidekey_tell_grant()
      `.execute(db);
      await sql`
        create trigger sidekey_tell_update after update of sealed on grants for each row
        when (new.changed_in is distinct from pg_current_xact_id()::text::bigint)
        execute function sidekey_tell_grant()
      `.execute(db);
    },
  },
  '0038-approval-lists': {
    async up(db: Kysely<unknown>): Promise<void> {
      // A join of columns with two collations uses no index (as for `0029-agent-names`). A column that a
      // trigger names cannot be changed. All locks at once, in the order of queries, prevent deadlocks.
      const tables = ['questions', 'proposals', 'agent_uses', 'agent_tokens', 'bindings', 'leases'];
      await sql`lock table ${sql.join([...tables, 'agents'].map((table) => sql.table(table)))}`.execute(db);
      for (const table of tables) {
        const { rows } = await sql<{ name: string; text: string }>`
          select tgname as name, pg_get_triggerdef(oid) as text from pg_trigger
          where tgrelid = ${table}::regclass and not tgisinternal
        `.execute(db);
        for (const { name } of rows)
          await sql`drop trigger ${sql.ref(name)} on ${sql.table(table)}`.execute(db);
        const column = sql.ref(table === 'agent_uses' ? 'id' : 'agent');
        await sql`alter table ${sql.table(table)} alter column ${column} type text collate "C"`.execute(db);
        for (const { text } of rows) await sql.raw(text).execute(db);
      }
      await common['0038-approval-lists']?.up(db);
    },
  },
  '0039-people': {
    async up(db: Kysely<unknown>): Promise<void> {
      // Names have the order of SQLite, as for `0024-grant-names`. The order of the locks prevents deadlocks.
      await sql`lock table passkeys, people, api_keys`.execute(db);
      for (const table of ['people', 'api_keys'])
        await sql`alter table ${sql.table(table)} alter column name type text collate "C"`.execute(db);
      await common['0039-people']?.up(db);
    },
  },
};
