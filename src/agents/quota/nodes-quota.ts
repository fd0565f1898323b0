import type { Pool, PoolClient } from 'pg';
import {
  openPool,
  type PostgresAccess,
  postgresLocation,
  postgresUnavailable,
  reconnectAfterMs,
} from '../../lib/postgres.ts';
import { type Clock, systemClock } from '../../lib/timers.ts';
import type { RuleLimit } from '../../proxy/policy/rule.ts';
import {
  charged,
  type Count,
  countAt,
  countName,
  type Counts,
  countsBytes,
  type Quota,
  type QuotaKey,
  spendFrom,
  staleAt,
  sweepEveryMinute,
  takeFrom,
} from './quota.ts';

/** Usage of a limit that was not exchanged yet. */
interface Usage {
  readonly limit: RuleLimit;
  requests: number;
  bytes: number;
}

type Usages = Map<string, Usage>;

/** A quota whose `close` sends the usage that is not exchanged. */
type NodesQuota = Omit<Quota, 'close'> & { close(): Promise<void> };

/** Milliseconds between two exchanges. Meanwhile, other nodes may admit their remaining requests. */
const exchangeEveryMs = 250;

/** Milliseconds for which usage may remain unknown to other nodes; after that, requests are refused. */
const patienceMs = 5_000;

/** Maximum number of counts in one exchange, which is one transaction. */
const maxBatch = 1_000;

/**
 * Opens a quota that nodes share through a PostgreSQL database. Each process counts in memory, and every 250
 * ms exchanges its usage for the totals. So a limit admits at most its rest, plus what other processes admit
 * within one exchange. Without the database, requests are refused with `store_unavailable` after 5 s.
 */
export function createNodesQuota(access: PostgresAccess, clock: Clock = systemClock): NodesQuota {
  const counts = new Map<string, { readonly count: Count; readonly stale: number }>();
  const local: Counts = {
    read: (name) => counts.get(name)?.count,
    write: (name, count, stale) => void counts.set(name, { count, stale }),
  };
  const sweep = sweepEveryMinute((now) => {
    for (const [name, { stale }] of counts) if (stale <= now) counts.delete(name);
  });
  let pool: Promise<Pool> | null = null;
  let unsent: Usages = new Map();
  /** Time of the first usage that is not exchanged, by `clock`. */
  let unsentSince = Infinity;
  let failure: unknown = null;
  /** Failed exchanges since the last successful one. */
  let failures = 0;
  let lastNow = 0;
  let cancel: (() => void) | null = null;
  let exchanging = Promise.resolve();
  let closed = false;

  function add(limits: readonly RuleLimit[], key: QuotaKey, requests: number, bytes: number): void {
    for (const limit of limits) {
      const usage = usageOf(unsent, countName(limit, key), limit);
      usage.requests += requests;
      usage.bytes += bytes;
    }
    unsentSince = Math.min(unsentSince, clock.now());
    exchangeLater();
  }

  function exchangeLater(): void {
    if (closed || cancel !== null || unsent.size === 0) return;
    cancel = clock.after(failures === 0 ? exchangeEveryMs : reconnectAfterMs(failures), () => {
      exchanging = exchange().finally(() => {
        cancel = null;
        exchangeLater();
      });
    });
  }

  async function exchange(): Promise<void> {
    const begun = clock.now();
    const batch: Usages = new Map([...unsent].slice(0, maxBatch));
    for (const name of batch.keys()) unsent.delete(name);
    try {
      pool ??= openPool(access, 1);
      const totals = await exchangeIn(await pool, batch);
      failures = 0;
      unsentSince = unsent.size === 0 ? Infinity : begun;
      for (const [name, { limit, count }] of totals) {
        const { requests, bytes } = unsent.get(name) ?? { requests: 0, bytes: 0 };
        // The clocks of nodes differ, so the total counts from the time of this one.
        const total = charged({ ...count, at: Math.trunc(lastNow) }, requests, bytes);
        local.write(name, total, staleAt(limit, total));
      }
    } catch (error) {
      // The usage may have been counted; then it counts twice.
      failure = error;
      failures += 1;
      for (const [name, { limit, requests, bytes }] of batch) {
        const usage = usageOf(unsent, name, limit);
        usage.requests += requests;
        usage.bytes += bytes;
      }
    }
  }

  return {
    take(limits, key, now) {
      if (limits.length === 0) return { ok: true };
      if (closed || clock.now() - unsentSince > patienceMs)
        throw postgresUnavailable(postgresLocation(access.address), failure);
      lastNow = now;
      sweep(now);
      const result = takeFrom(local, limits, key, now);
      if (result.ok) add(limits, key, 1, 0);
      return result;
    },
    spend(limits, key, bytes, now) {
      if (bytes <= 0 || !limits.some(countsBytes)) return { ok: true };
      lastNow = now;
      add(limits.filter(countsBytes), key, 0, bytes);
      return spendFrom(local, limits, { key, bytes }, now);
    },
    async close() {
      if (closed) return;
      closed = true;
      cancel?.();
      await exchanging;
      if (unsent.size > 0) await exchange();
      await (await pool)?.end();
    },
  };
}

function usageOf(usages: Usages, name: string, limit: RuleLimit): Usage {
  let usage = usages.get(name);
  if (usage === undefined) usages.set(name, (usage = { limit, requests: 0, bytes: 0 }));
  return usage;
}

const databaseTime = 'floor(extract(epoch from clock_timestamp()) * 1000)::bigint';

type Totals = Map<string, { readonly limit: RuleLimit; readonly count: Count }>;

/**
 * Adds usage to the counts of the database, by its clock, and returns the totals. Rows are locked in one
 * order, so that two nodes do not wait for each other.
 */
async function exchangeIn(pool: Pool, usages: Usages): Promise<Totals> {
  const client = await pool.connect();
  let isBroken = true;
  try {
    await client.query('begin');
    const totals = await addIn(client, usages);
    await client.query('commit');
    isBroken = false;
    return totals;
  } finally {
    // A transaction that was not committed ends with its connection.
    client.release(isBroken);
  }
}

async function addIn(client: PoolClient, usages: Usages): Promise<Totals> {
  const names = [...usages.keys()].toSorted((a, b) => (a < b ? -1 : 1));
  await client.query(
    `delete from counts where name in
     (select name from counts where stale <= ${databaseTime} for update skip locked limit ${maxBatch})`,
  );
  await client.query(
    `insert into counts (name, at, used, unit, bytes, stale)
     select name, ${databaseTime}, 0, 1, 0, ${databaseTime} + 60000 from unnest($1::text[]) as name
     on conflict (name) do nothing`,
    [names],
  );
  const { rows } = await client.query<Count & { readonly name: string; readonly now: number }>(
    `select name, at, used, unit, bytes, ${databaseTime} as now from counts
     where name = any($1) order by name collate "C" for update`,
    [names],
  );
  const totals: Totals = new Map();
  for (const { name, now, ...row } of rows) {
    const { limit, requests, bytes } = usages.get(name)!;
    totals.set(name, { limit, count: charged(countAt(limit, row, now), requests, bytes) });
  }
  const all = [...totals];
  await client.query(
    `update counts set at = it.at, used = it.used, unit = it.unit, bytes = it.bytes, stale = it.stale
     from unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[])
       as it (name, at, used, unit, bytes, stale)
     where counts.name = it.name`,
    [
      all.map(([name]) => name),
      ...(['at', 'used', 'unit', 'bytes'] as const).map((member) =>
        all.map(([, { count }]) => count[member]),
      ),
      all.map(([, { limit, count }]) => staleAt(limit, count)),
    ],
  );
  return totals;
}
