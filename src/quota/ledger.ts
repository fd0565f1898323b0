import type { RuleLimit } from '../policy/rule.ts';
import { charged, countAt, isOverdrawn, nameOf, staleAt, waitOf, type Count } from './count.ts';
import type { Asker, Taken } from './quota.ts';

/** Where counts are kept. Between a read and the writes after it nobody else writes. */
export interface Counts {
  read(name: string): Count | undefined;
  /** @param stale from when on it may be forgotten, in milliseconds since the epoch */
  write(name: string, count: Count, stale: number): void;
}

/** Takes one request from every limit, or from none. */
export function takeFrom(counts: Counts, limits: readonly RuleLimit[], who: Asker, now: number): Taken {
  // By name: two limits that share a count are both charged to it.
  const next = new Map<string, { readonly limit: RuleLimit; readonly count: Count }>();
  let refused: Taken = { ok: true };
  for (const limit of limits) {
    const name = nameOf(limit, who);
    const before = next.get(name)?.count ?? counts.read(name);
    const count = countAt(limit, before, now);
    // Also where it is refused: else the clock would have to come back to where it was before time counts again.
    if (before !== undefined && count.at < before.at) counts.write(name, count, staleAt(limit, count));
    const retryAfterMs = waitFrom(now, limit, count);
    if (retryAfterMs > (refused.ok ? 0 : refused.retryAfterMs)) refused = { ok: false, retryAfterMs, limit };
    next.set(name, { limit, count: charged(count, 1, 0) });
  }
  if (!refused.ok) return refused;
  for (const [name, { limit, count }] of next) counts.write(name, count, staleAt(limit, count));
  return refused;
}

/** Milliseconds from `now`. Where the clock is behind the count, it has to come up to it first. */
function waitFrom(now: number, limit: RuleLimit, count: Count): number {
  const wait = waitOf(limit, count);
  return wait === 0 ? 0 : wait + count.at - Math.trunc(now);
}

/** Adds bytes to the budgets of bytes; answers whether one of them is overdrawn now. */
export function spendFrom(
  counts: Counts,
  limits: readonly RuleLimit[],
  who: Asker,
  bytes: number,
  now: number,
): Taken {
  let overdrawn: Taken = { ok: true };
  for (const limit of limits) {
    if (!countsBytes(limit)) continue;
    const name = nameOf(limit, who);
    const count = charged(countAt(limit, counts.read(name), now), 0, bytes);
    counts.write(name, count, staleAt(limit, count));
    if (isOverdrawn(limit, count))
      overdrawn = { ok: false, retryAfterMs: waitFrom(now, limit, count), limit };
  }
  return overdrawn;
}

/** Whether a limit is of bytes: the others have nothing to settle. */
export function countsBytes(limit: RuleLimit): boolean {
  return limit.kind === 'budget' && limit.bytes !== null;
}

/** How often counts that say nothing any more are thrown out. */
const sweepEveryMs = 60_000;

/** Calls `sweep` at the first call, and then about once a minute of the callers' clock. */
export function sweepNowAndThen(sweep: (now: number) => void): (now: number) => void {
  let last: number | null = null;
  return (now) => {
    if (last !== null && now >= last && now - last < sweepEveryMs) return;
    last = now;
    sweep(now);
  };
}
