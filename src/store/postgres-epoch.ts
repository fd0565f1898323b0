import type { Client, Pool } from 'pg';
import { SidekeyError } from '../lib/errors.ts';
import { openClient, type PostgresAccess, postgresUnavailable } from '../lib/postgres.ts';
import { type Clock, within } from '../lib/timers.ts';

/** The channel on which triggers tell of changes (see `postgresMigrations`). */
export const channel = 'sidekey_changed';

/** Milliseconds between two signs of life of the listening connection, and between two attempts to make a new one. */
const beatMs = 250;
/** Milliseconds that a sign of life may take. With `beatMs` and an attempt, a change acts within a second. */
const patienceMs = 500;

/**
 * Milliseconds without the database after which what was read before no longer counts. Until then, tokens in memory serve
 * until they end; a revocation on another node cannot arrive.
 */
export const maxOutageMs = 900_000;

/** Counts the changes of a database, by this process and others. */
interface ChangeCount {
  /** See `Store.epoch`. @throws SidekeyError `store_unavailable` after an outage of `maxOutageMs` */
  readonly epoch: () => number;
  /** Counts a change that this process made. */
  readonly changed: () => void;
  close(): Promise<void>;
}

/**
 * Listens for changes by other processes (NOTIFY). While the connection is being made anew, each attempt in which the
 * database answers counts as a change, because one may have been missed.
 */
export async function watchChanges(
  access: PostgresAccess,
  { pool, location, clock }: { readonly pool: Pool; readonly location: string; readonly clock: Clock },
): Promise<ChangeCount> {
  let count = 0;
  let listening: Client | null = null;
  let reachedAt = clock.now();
  let failure: unknown = null;
  let stopped = false;
  let cancel: (() => void) | null = null;
  let turn = Promise.resolve();

  async function listen(): Promise<void> {
    const client = await openClient(access);
    client.on('error', () => {});
    client.on('end', () => {
      if (listening === client) listening = null;
    });
    client.on('notification', () => (count += 1));
    try {
      await client.connect();
      await client.query(`listen ${channel}`);
    } catch (error) {
      void client.end().catch(() => undefined);
      throw error;
    }
    listening = client;
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
        if ((await within(clock, listening.query('select 1'), patienceMs)) === 'late') drop();
        else reachedAt = clock.now();
        return;
      }
      await listen().catch(() => pool.query('select 1'));
      count += 1;
      reachedAt = clock.now();
    } catch (error) {
      failure = error;
      drop();
    }
  }

  function beatLater(): void {
    if (stopped) return;
    cancel = clock.after(beatMs, () => {
      turn = beat().finally(beatLater);
    });
  }

  await listen();
  beatLater();
  return {
    epoch() {
      if (clock.now() - reachedAt > maxOutageMs)
        throw postgresUnavailable(location, failure ?? new SidekeyError('store_unavailable'));
      return count;
    },
    changed: () => (count += 1),
    async close() {
      stopped = true;
      cancel?.();
      await turn;
      await listening?.end();
    },
  };
}
