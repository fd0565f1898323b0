import { type Count, type Counts, type Quota, spendFrom, sweepNowAndThen, takeFrom } from './quota.ts';

/** A quota of this process alone: for one that has nobody to share with, and gone when it ends. */
interface MemoryQuota extends Quota {
  /** How many counts it keeps. */
  readonly size: number;
}

/** Makes a quota in which nothing is used yet. */
export function createMemoryQuota(): MemoryQuota {
  const kept = new Map<string, { readonly count: Count; readonly stale: number }>();
  const counts: Counts = {
    read: (name) => kept.get(name)?.count,
    write: (name, count, stale) => void kept.set(name, { count, stale }),
  };
  const sweep = sweepNowAndThen((now) => {
    for (const [name, { stale }] of kept) if (stale <= now) kept.delete(name);
  });
  return {
    get size() {
      return kept.size;
    },
    async take(limits, who, now) {
      if (limits.length > 0) sweep(now);
      return takeFrom(counts, limits, who, now);
    },
    spend: (limits, who, bytes, now) => spendFrom(counts, limits, who, bytes, now),
    close: () => kept.clear(),
  };
}
