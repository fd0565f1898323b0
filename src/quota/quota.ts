import type { RuleLimit } from '../policy/rule.ts';

/** Whose request it is; a limit is counted for the one that its `per` names. */
export interface QuotaKey {
  /** Name of the agent. All callers without a token (null) are counted as one. */
  readonly agent: string | null;
  /** Id of the grant. */
  readonly grant: string;
}

/**
 * Whether a request may begin, or go on. `limit` is the one that makes it wait longest, `retryAfterMs` how long: at
 * least 1.
 */
export type QuotaResult =
  { readonly ok: true } | { readonly ok: false; readonly retryAfterMs: number; readonly limit: RuleLimit };

/**
 * What is left of the limits of rules: token buckets for rates, and sums of a day in UTC for budgets. A counter is named
 * by the limit's `key` and by whom it is counted for, so that it outlives a reload of the rules.
 *
 * A clock that steps back by up to a minute stands still here: no moment is counted twice. One that steps back further
 * was wrong before; it goes on from where it is, and gives nothing for the step. What one agent has left is never more
 * than a burst and what its rate gave since.
 */
export interface Quota {
  /**
   * Takes one request from every limit, or from none of them. Limits that are not reached cost what is spent later.
   * @param now milliseconds since the epoch
   * @throws SidekeyError `store_unavailable`, where it cannot be known what is left: then nothing may pass
   */
  take(limits: readonly RuleLimit[], who: QuotaKey, now: number): Promise<QuotaResult>;
  /**
   * Settles bytes of a request that was taken, as they go through. They may be more than there were: then the budget is
   * overdrawn, and the answer is a no. Never throws: what cannot be written now stays owed, and the next use of this
   * process pays it first; meanwhile a budget is overdrawn when as much as it gives is owed.
   */
  spend(limits: readonly RuleLimit[], who: QuotaKey, bytes: number, now: number): QuotaResult;
  /** Lets go of what it holds; what others of this machine share of it goes on. Idempotent. */
  close(): void;
}

/** Where counts are kept. Between a read and the writes after it nobody else writes. */
export interface Counts {
  read(name: string): Count | undefined;
  /** @param stale from when on it may be forgotten, in milliseconds since the epoch */
  write(name: string, count: Count, stale: number): void;
}

/** Takes one request from every limit, or from none. */
export function takeFrom(
  counts: Counts,
  limits: readonly RuleLimit[],
  who: QuotaKey,
  now: number,
): QuotaResult {
  // By name: two limits that share a count are both charged to it.
  const next = new Map<string, { readonly limit: RuleLimit; readonly count: Count }>();
  let refused: QuotaResult = { ok: true };
  for (const limit of limits) {
    const name = countName(limit, who);
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
  who: QuotaKey,
  bytes: number,
  now: number,
): QuotaResult {
  let overdrawn: QuotaResult = { ok: true };
  for (const limit of limits) {
    if (!countsBytes(limit)) continue;
    const name = countName(limit, who);
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

/**
 * The arithmetic of limits, without a place where counts are kept: from a count and a time to the count at that time,
 * to whether one more request fits, to the count with it.
 */

/** What was used of one limit. None is the same as one in which nothing was used. */
export interface Count {
  /** When it was counted, in milliseconds since the epoch. */
  readonly at: number;
  /**
   * Requests, in parts: `unit` of them are one. A rate gives back `count` parts a millisecond where `unit` is its
   * `perMs`, so that sums are of whole numbers and exact (up to 2^53: a burst of 100 million a day).
   */
  readonly used: number;
  readonly unit: number;
  /** Of the day, for budgets. */
  readonly bytes: number;
}

/** How far the clock of one asker may be behind another's, or behind itself, without having been set: a minute. */
const lagMs = 60_000;

const dayMs = 86_400_000;

/** The name of the count of a limit for one asker: the same for as long as the rule is. */
export function countName({ kind, key, per }: RuleLimit, { agent, grant }: QuotaKey): string {
  const counted = { agent, grant, rule: null }[per];
  return JSON.stringify([kind, key, per, counted]);
}

/** A count as it stands at `now`. */
export function countAt(limit: RuleLimit, count: Count | undefined, now: number): Count {
  const unit = limit.kind === 'rate' ? limit.perMs : 1;
  const clock = Math.trunc(now);
  if (count === undefined) return { at: clock, used: 0, unit, bytes: 0 };
  const at = clock < count.at - lagMs ? clock : Math.max(clock, count.at);
  if (limit.kind === 'budget') {
    const isNewDay = Math.floor(at / dayMs) > Math.floor(count.at / dayMs);
    return isNewDay ? { at, used: 0, unit, bytes: 0 } : { ...count, at };
  }
  // A rate that the rules set anew finds its bucket no emptier than empty.
  const before = count.unit === unit ? count.used : Math.ceil((count.used / count.unit) * unit);
  const used = Math.min(before, limit.burst * unit);
  const given = Math.max(0, at - count.at) * limit.count;
  return { at, used: Math.max(0, used - given), unit, bytes: 0 };
}

/** Milliseconds until one more request fits into a count of `countAt`; 0: it does now. */
export function waitOf(limit: RuleLimit, { at, used, unit, bytes }: Count): number {
  if (limit.kind === 'rate') {
    const over = used + unit - limit.burst * unit;
    return over <= 0 ? 0 : Math.ceil(over / limit.count);
  }
  const isSpent =
    (limit.requests !== null && used + unit > limit.requests) ||
    (limit.bytes !== null && bytes >= limit.bytes);
  return isSpent ? nextDay(at) - at : 0;
}

/** Whether more bytes went than a budget gives: a request that uses up its last byte is still within it. */
export function isOverdrawn(limit: RuleLimit, { bytes }: Count): boolean {
  return limit.kind === 'budget' && limit.bytes !== null && bytes > limit.bytes;
}

/** A count of `countAt` with more in it. */
export function charged(count: Count, requests: number, bytes: number): Count {
  return { ...count, used: count.used + requests * count.unit, bytes: count.bytes + bytes };
}

/** From when on a count says no more than none does, to whoever's clock. */
function staleAt(limit: RuleLimit, { at, used }: Count): number {
  return (limit.kind === 'rate' ? at + Math.ceil(used / limit.count) : nextDay(at)) + lagMs;
}

function nextDay(at: number): number {
  return (Math.floor(at / dayMs) + 1) * dayMs;
}
