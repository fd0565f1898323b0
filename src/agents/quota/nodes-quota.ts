import type { ChangeCounts } from '../../domain/limit-counts.ts';
import { postgresUnavailable, reconnectAfterMs } from '../../lib/postgres.ts';
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
 * Returns a quota that nodes share through a PostgreSQL database. Each process counts in memory, and every 250
 * ms exchanges its usage for the totals. So a limit admits at most its rest, plus what other processes admit
 * within one exchange. Without the database, requests are refused with `store_unavailable` after 5 s.
 */
export function createNodesQuota(
  change: ChangeCounts,
  location: string,
  clock: Clock = systemClock,
): NodesQuota {
  const counts = new Map<string, { readonly count: Count; readonly stale: number }>();
  const local: Counts = {
    read: (name) => counts.get(name)?.count,
    write: (name, count, stale) => void counts.set(name, { count, stale }),
  };
  const sweep = sweepEveryMinute((now) => {
    for (const [name, { stale }] of counts) if (stale <= now) counts.delete(name);
  });
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
      const totals = await change([...batch.keys()], (row, now) => {
        const { limit, requests, bytes } = batch.get(row.name)!;
        const total = charged(countAt(limit, row, now), requests, bytes);
        return { ...total, name: row.name, stale: staleAt(limit, total) };
      });
      failures = 0;
      unsentSince = unsent.size === 0 ? Infinity : begun;
      for (const count of totals) {
        const { name } = count;
        const { limit } = batch.get(name)!;
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
      if (closed || clock.now() - unsentSince > patienceMs) throw postgresUnavailable(location, failure);
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
    },
  };
}

function usageOf(usages: Usages, name: string, limit: RuleLimit): Usage {
  let usage = usages.get(name);
  if (usage === undefined) usages.set(name, (usage = { limit, requests: 0, bytes: 0 }));
  return usage;
}
