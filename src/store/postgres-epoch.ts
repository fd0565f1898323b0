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
import { hashBits, HeldGrants } from './held-grants.ts';

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

interface WatchParts {
  readonly pool: Pool;
  readonly location: string;
  /** Clock of outages. */
  readonly clock: Clock;
  readonly onTime?: TimeReceiver | undefined;
}

type News = Record<'now' | 'snapshot', string> & Record<'changed' | 'outdated', string | null>;

/** Receives the time of the database, and system times before and after; all in ms since the epoch. */
export type TimeReceiver = (shared: number, askedAt: number, answeredAt: number) => void;

/**
 * Time, and the grants in memory that refreshes have changed: those that were committed since a snapshot ($1),
 * each once, whatever the order of the commits; and those of which another revision was read ($3, $4) since
 * then. $2 has a bit for each hash of an ID in memory. IDs that are not hexadecimal count as held.
 * IDs of transactions that lie ahead are those of another server, which was copied.
 */
export const news = `
  select extract(epoch from clock_timestamp()) * 1000 as now, pg_current_snapshot() as snapshot, (
    select string_agg(id, ' ') from grants
    where changed_in >= pg_snapshot_xmin($1::pg_snapshot)::text::bigint
    and changed_in < pg_snapshot_xmax(pg_current_snapshot())::text::bigint
    and not pg_visible_in_snapshot(changed_in::text::xid8, $1::pg_snapshot)
    and case when left(id, 4) ~ '^[0-9a-fA-F]{4}$' then get_bit(
      $2::bytea, ('x' || left(id, 4))::bit(${hashBits})::int & (8 * octet_length($2::bytea) - 1)
    ) else 1 end = 1
  ) as changed, (
    select string_agg(id, ' ')
    from unnest($3::text[], $4::bigint[]) as old (id, revision) join grants using (id)
    where grants.revision <> old.revision
  ) as outdated`;

/**
 * Counts the changes of a database, by this process and others. Listens for changes by other processes
 * (NOTIFY), and polls for refreshes. While it reconnects, each attempt that the database answers counts as a
 * change, because one may have been missed.
 */
export async function watchChanges(access: PostgresAccess, { pool, location, clock, onTime }: WatchParts) {
  const log = createChangeLog();
  const held = new HeldGrants();
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
    const { read } = held;
    held.read = [];
    const values = [snapshot, held.mask(), read.map(({ id }) => id), read.map(({ revision }) => revision)];
    // Named, so that it is sent and planned once for each connection.
    const { rows } = await client.query<News>({ name: 'news', text: news, values });
    const answer = rows[0]!;
    onTime?.(Number(answer.now), askedAt, Date.now());
    snapshot = answer.snapshot;
    for (const id of new Set([answer.changed, answer.outdated].flatMap((some) => some?.split(' ') ?? [])))
      log.add(ofGrant(id));
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
    /** See `Store.epoch`. @throws SidekeyError `store_unavailable` after an outage of `maxOutageMs` */
    epoch: (): number => {
      if (clock.now() - reachedAt > maxOutageMs)
        throw postgresUnavailable(location, failure ?? new SidekeyError('store_unavailable'));
      return log.count;
    },
    /** See `Store.changesSince`. */
    since: log.since,
    held,
    /** Counts a write of this process to these tables, or with these notifications. */
    wrote: (tables: readonly string[]) => tables.forEach(log.add),
    /** Counts a write of this process to a grant; null: it was removed. */
    wroteGrant: log.addGrant,
    async close(): Promise<void> {
      stopped = true;
      cancel?.();
      await turn;
      await listening?.end();
    },
  };
}
