import {
  type Count,
  type Counts,
  type Quota,
  spendFrom,
  sweepEveryMinute,
  takeFrom,
} from '../../src/agents/quota/quota.ts';

/** A quota in memory, with which the shared quota must agree. */
interface MemoryQuota extends Quota {
  /** Number of counters that it keeps. */
  readonly size: number;
}

/** Creates an unused quota. */
export function createMemoryQuota(): MemoryQuota {
  const kept = new Map<string, { readonly count: Count; readonly stale: number }>();
  const counts: Counts = {
    read: (name) => kept.get(name)?.count,
    write: (name, count, stale) => void kept.set(name, { count, stale }),
  };
  const sweep = sweepEveryMinute((now) => {
    for (const [name, { stale }] of kept) if (stale <= now) kept.delete(name);
  });
  return {
    get size() {
      return kept.size;
    },
    take(limits, key, now) {
      if (limits.length > 0) sweep(now);
      return takeFrom(counts, limits, key, now);
    },
    spend: (limits, key, bytes, now) => spendFrom(counts, limits, { key, bytes }, now),
    close: () => kept.clear(),
  };
}
