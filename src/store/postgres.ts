import {
  CamelCasePlugin,
  type Expression,
  HandleEmptyInListsPlugin,
  Kysely,
  PostgresDialect,
  type PostgresPool,
  type PostgresPoolClient,
  replaceWithNoncontingentExpression,
  sql,
} from 'kysely';
import type { Pool, PoolClient } from 'pg';
import { SidekeyError } from '../lib/errors.ts';
import {
  openPool,
  type PostgresAccess,
  postgresLocation,
  postgresUnavailable,
  sqlState,
  timeouts,
} from '../lib/postgres.ts';
import { type Clock, systemClock, within } from '../lib/timers.ts';
import type { StoreTables } from './copy.ts';
import { writeNotes } from './change-log.ts';
import { migrate, type Migrations, schemaState } from './migrations.ts';
import { type TimeReceiver, watchChanges } from './postgres-epoch.ts';
import { postgresMigrations } from './postgres-migrations.ts';
import type { Schema } from './schema.ts';
import { type Fault, sqlStore } from './sql-store.ts';
import type { Store } from './store.ts';

interface PostgresStoreOptions {
  readonly now: () => number;
  /** Maximum number of connections for queries, at least 2. One more listens for changes. Default: 2. */
  readonly connections?: number | undefined;
  /** Migrations of this program. Default: `postgresMigrations`. */
  readonly migrations?: Migrations;
  /** Clock of locks. Default: the clock of the database. */
  readonly lockClock?: () => Expression<number>;
  /** Clock of outages. Default: the clock of the process. */
  readonly clock?: Clock;
  /** Called with the time of the database, at the start and several times a second. */
  readonly onTime?: TimeReceiver;
}

/** See `openPool`. Less than the 5 s after which other processes refuse requests with limits. */
const maxPauseMs = 3_000;

/** Milliseconds since the epoch, by the clock of the database. */
const databaseClock = () => sql<number>`floor(extract(epoch from clock_timestamp()) * 1000)::bigint`;

/**
 * Opens a store in PostgreSQL, for any number of processes and machines. One creates or migrates the tables.
 * @throws SidekeyError `store_damaged`, `store_newer`, `store_unavailable`, `secret_missing`,
 * `config_invalid`
 */
export async function openPostgresStore(
  access: PostgresAccess,
  options: PostgresStoreOptions,
): Promise<Store> {
  const location = postgresLocation(access.address);
  const connections = Math.max(options.connections ?? 2, 2);
  const pool = await openPool(access, connections, maxPauseMs);
  const clock = options.clock ?? systemClock;
  try {
    await prepare(access, pool, options.migrations ?? postgresMigrations);
    const changes = await watchChanges(access, { pool, location, clock, onTime: options.onTime });
    return sqlStore({
      db: queriesOf(counted(pool, changes.wrote, createLane(clock))),
      location,
      now: options.now,
      lockClock: options.lockClock ?? databaseClock,
      writesInWith: true,
      epoch: changes.epoch,
      changesSince: changes.since,
      held: changes.held,
      grantWritten: changes.wroteGrant,
      rightsWritten: changes.wrote,
      fault: (error) => postgresFault(location, error),
      // A commit waits for the disk.
      synced: () => Promise.resolve(),
      close: async () => {
        await changes.close();
        await pool.end();
      },
    });
  } catch (error) {
    await pool.end().catch(() => undefined);
    const meaning = error instanceof SidekeyError ? error : postgresFault(location, error);
    throw typeof meaning === 'string' ? error : meaning;
  }
}

/** Opens the tables of a store for a copy. @throws as `openPostgresStore` */
export async function openPostgresTables(access: PostgresAccess): Promise<StoreTables> {
  const location = postgresLocation(access.address);
  const pool = await openPool(access, 2);
  try {
    await prepare(access, pool, postgresMigrations);
  } catch (error) {
    await pool.end();
    const meaning = error instanceof SidekeyError ? error : postgresFault(location, error);
    throw typeof meaning === 'string' ? error : meaning;
  }
  return {
    location,
    db: queriesOf(counted(pool, () => {}, createLane(systemClock))),
    fault: (error) => postgresFault(location, error),
    close: () => pool.end(),
  };
}

function queriesOf(pool: PostgresPool): Kysely<Schema> {
  return new Kysely<Schema>({
    dialect: new PostgresDialect({ pool }),
    plugins: [
      new CamelCasePlugin(),
      // PostgreSQL has no empty list.
      new HandleEmptyInListsPlugin({ strategy: replaceWithNoncontingentExpression }),
    ],
  });
}

/** The first statements of work that may last long: transactions, and the count of all grants. */
const long = /^(?:begin|start transaction|select .* from "grant_totals")/;

/**
 * Reports the tables of each acknowledged write or transaction of the pool to `wrote`. Long work enters the
 * lane, so a connection is left for other statements, including those inside a transaction.
 */
function counted(pool: Pool, wrote: (tables: readonly string[]) => void, lane: Lane): PostgresPool {
  return {
    options: {},
    end: () => pool.end(),
    async connect() {
      let client: PoolClient | null = null;
      let leave: (() => void) | null = null;
      let isBroken = false;
      const note = writeNotes(wrote);
      const query = async (text: string, parameters: readonly unknown[]) => {
        try {
          if (client === null) {
            if (long.test(text)) leave = await lane();
            client = await pool.connect();
          }
          const result = await client.query(text, parameters.map(storable));
          note(text);
          return result;
        } catch (error) {
          // The connection did not answer, or the server has become a replica.
          if ([null, '25006'].includes(sqlState(error))) isBroken = true;
          throw error;
        }
      };
      return {
        query: query as unknown as PostgresPoolClient['query'],
        release: () => {
          client?.release(isBroken);
          leave?.();
        },
      };
    },
  };
}

/** Waits at most 5 s until the previous caller has left. Returns the function that leaves. */
type Lane = () => Promise<() => void>;

function createLane(clock: Clock): Lane {
  let last = Promise.resolve();
  return async () => {
    const before = last;
    const { promise, resolve: leave } = Promise.withResolvers<void>();
    last = before.then(() => promise);
    if ((await within(clock, before, timeouts.connect)) !== 'late') return leave;
    leave();
    throw new Error('timeout of the wait for other transactions');
  };
}

/** Replaces NUL in a text, which PostgreSQL cannot store. */
function storable(parameter: unknown): unknown {
  return typeof parameter === 'string' ? parameter.replaceAll('\0', '\ufffd') : parameter;
}

/** Checks the tables, and creates or upgrades them. The migrator takes an advisory lock of the database. */
async function prepare(access: PostgresAccess, pool: Pool, known: Migrations): Promise<void> {
  const location = postgresLocation(access.address);
  const db = new Kysely<Schema>({ dialect: new PostgresDialect({ pool }) });
  const state = await schemaState(db, known).catch((error: unknown) => {
    if (sqlState(error) === undefinedTable) return 'none' as const;
    throw error;
  });
  if (state === 'newer') {
    throw new SidekeyError(
      'store_newer',
      `The store at ${location} was written by a newer version of Sidekey.`,
      { hint: 'Use that version, or restore a backup that this one made.' },
    );
  }
  if (state === 'current') return;
  const patient = await openPool(access, 1, undefined, timeouts.migration);
  try {
    await migrate(new Kysely<Schema>({ dialect: new PostgresDialect({ pool: patient }) }), known);
  } catch (error) {
    if (sqlState(error) !== duplicateTable) throw error;
    throw new SidekeyError('store_damaged', `The database ${location} has tables of another program.`, {
      hint: 'Give Sidekey a database of its own: createdb --owner=USER sidekey',
      cause: error,
    });
  } finally {
    await patient.end();
  }
}

/** SQLSTATEs (PostgreSQL, appendix A). */
const undefinedTable = '42P01';
const duplicateTable = '42P07';
/** Deadlock; serialization failure; a referenced row was removed after the query had read it. */
const conflicts: readonly unknown[] = ['40P01', '40001', '23503'];

/** Classifies a PostgreSQL error. After an unknown one, the store is unusable and never treated as empty. */
export function postgresFault(location: string, error: unknown): Fault {
  const state = sqlState(error);
  if (state === '23505') return 'duplicate';
  if (conflicts.includes(state)) return 'again';
  // Missing tables and columns: the queries are fixed. XX001, XX002: corrupted data or index.
  const isDamaged =
    state !== null && (/^XX00[12]$/.test(state) || (state.startsWith('42') && state !== '42501'));
  if (!isDamaged) return postgresUnavailable(location, error);
  return new SidekeyError(
    'store_damaged',
    `The store at ${location} is damaged: it cannot be read (${state}).`,
    {
      hint: 'Restore the database from a backup, or name an empty one to begin with an empty store.',
      cause: error,
    },
  );
}
