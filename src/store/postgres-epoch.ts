import type { Client, Pool } from 'pg';
import { SidekeyError } from '../lib/errors.ts';
import {
  openClient,
  type PostgresAccess,
  postgresUnavailable,
  reconnectAfterMs,
  sqlState,
} from '../lib/postgres.ts';
import { type Clock, within } from '../lib/timers.ts';
import { channel, createChangeLog, ofGrant } from './change-log.ts';
import type { StoreWrites } from './grants.ts';
import type { StoreChanges } from './store.ts';

/** Milliseconds between two checks of the listening connection, and before the first attempt to reconnect. */
const beatMs = 250;
/** Timeout of an attempt to reconnect, in milliseconds. */
const attemptMs = 2_500;
/** Timeout of a check in milliseconds. With `beatMs` and a reconnection, changes are seen within 1 s. */
const patienceMs = 500;

/**
 * Milliseconds without the database after which earlier reads no longer count. Until then, tokens in memory
 * are used until they expire; a revocation on another node cannot arrive.
 */
export const maxOutageMs = 900_000;

/** Counts the changes of a database, by this process and others. */
interface ChangeCount {
  /** See `Store.epoch`. @throws SidekeyError `store_unavailable` after an outage of `maxOutageMs` */
  readonly epoch: () => number;
  /** See `Store.changesSince`. */
  readonly since: (epoch: number) => StoreChanges;
  /** Counts a write of this process to these tables, or with these notifications. */
  readonly wrote: (tables: readonly string[]) => void;
  /** Counts a write of this process to a grant; null: it was removed. */
  readonly wroteGrant: StoreWrites['grantWritten'];
  close(): Promise<void>;
}

interface WatchParts {
  readonly pool: Pool;
  readonly location: string;
  /** Clock of outages. */
  readonly clock: Clock;
  readonly onTime?: TimeReceiver | undefined;
}

/** Receives the time of the database, and system times before and after; all in ms since the epoch. */
export type TimeReceiver = (shared: number, askedAt: number, answeredAt: number) => void;

/**
 * Time, and the grants of refreshes that were committed since a snapshot: each once, whatever the order of
 * the commits. IDs of transactions that lie ahead are those of another server, which was copied.
 */
export const news = `
  select extract(epoch from clock_timestamp()) * 1000 as now, pg_current_snapshot() as snapshot, (
    select string_agg(id, ' ') from grants
    where changed_in >= pg_snapshot_xmin($1::pg_snapshot)::text::bigint
    and changed_in < pg_snapshot_xmax(pg_current_snapshot())::text::bigint
    and not pg_visible_in_snapshot(changed_in::text::xid8, $1::pg_snapshot)
  ) as changed`;

/**
 * Listens for changes by other processes (NOTIFY), and polls for refreshes. While it reconnects, each attempt
 * that the database answers counts as a change, because one may have been missed.
 */
export async function watchChanges(
  access: PostgresAccess,
  { pool, location, clock, onTime }: WatchParts,
): Promise<ChangeCount> {
  const log = createChangeLog();
  let listening: Client | null = null;
  /** Transactions that the last poll could see. Null: `log.lose` counts their changes. */
  let snapshot: string | null = null;
  let reachedAt = clock.now();
  let failure: unknown = null;
  /** Failed attempts since the last successful check. */
  let failures = 0;
  let stopped = false;
  let cancel: (() => void) | null = null;
  let turn = Promise.resolve();

  async function listen(): Promise<void> {
    const client = await openClient(access, attemptMs);
    client.on('error', () => {});
    client.on('end', () => {
      if (listening === client) listening = null;
    });
    client.on('notification', ({ payload = '' }) => log.add(payload));
    try {
      await client.connect();
      await client.query(`listen ${channel}`);
      snapshot = null;
      await ask(client);
    } catch (error) {
      void client.end().catch(() => undefined);
      throw error;
    }
    listening = client;
  }

  /** Asks for the time, and for the refreshes since the last call. */
  async function ask(client: Client): Promise<void> {
    const askedAt = Date.now();
    const { rows } = await client.query<{ now: string; snapshot: string; changed: string | null }>(news, [
      snapshot,
    ]);
    const [{ now, changed } = { now: Number.NaN, changed: null }] = rows;
    onTime?.(Number(now), askedAt, Date.now());
    snapshot = rows[0]?.snapshot ?? null;
    for (const id of changed?.split(' ') ?? []) log.add(ofGrant(id));
  }

  /** Drops a connection that does not answer, without waiting for it. */
  function drop(): void {
    const lost = listening;
    listening = null;
    void lost?.end().catch(() => undefined);
  }

  async function beat(): Promise<void> {
    try {
      if (listening !== null) {
        if ((await within(clock, ask(listening), patienceMs)) === 'late') drop();
        else reachedAt = clock.now();
        return;
      }
      await listen().catch((error: unknown) => {
        // The database answers, but has no connection left, or a pooler that cannot listen.
        if (sqlState(error) === null) throw error;
        return pool.query('select 1');
      });
      log.lose();
      failures = 0;
      reachedAt = clock.now();
    } catch (error) {
      failure = error;
      failures += 1;
      drop();
    }
  }

  function beatLater(): void {
    if (stopped) return;
    cancel = clock.after(failures === 0 ? beatMs : reconnectAfterMs(failures), () => {
      turn = beat().finally(beatLater);
    });
  }

  await listen();
  beatLater();
  return {
    epoch() {
      if (clock.now() - reachedAt > maxOutageMs)
        throw postgresUnavailable(location, failure ?? new SidekeyError('store_unavailable'));
      return log.count;
    },
    since: log.since,
    wrote: (tables) => tables.forEach(log.add),
    wroteGrant: log.addGrant,
    async close() {
      stopped = true;
      cancel?.();
      await turn;
      await listening?.end();
    },
  };
}
