import type { RuleLimit } from '../../proxy/policy/rule.ts';

/** The values for which limits count; `per` of a limit names one of them. */
export interface QuotaKey {
  /** Name of the agent; null: all callers without a token, counted together. */
  readonly agent: string | null;
  readonly grant: string;
}

/** `limit` is the limit with the longest wait; `retryAfterMs` is at least 1. */
export type QuotaResult =
  { readonly ok: true } | { readonly ok: false; readonly retryAfterMs: number; readonly limit: RuleLimit };

/**
 * The usage of the limits of rules: token buckets for rates, sums per UTC day for budgets. The `key` of its
 * limit and its `QuotaKey` name a count, so that it survives a reload of the rules.
 *
 * A clock that steps back by up to a minute counts as standing still: no moment is credited twice. After a
 * larger step, the count continues at the new time without credit. No agent ever has more than a burst and
 * what its rate gave since.
 */
export interface Quota {
  /**
   * Takes one request from every limit, or from none of them.
   * @param now milliseconds since the epoch
   * @throws SidekeyError `store_unavailable` if the usage is unknown; the request must then be refused
   */
  take(limits: readonly RuleLimit[], key: QuotaKey, now: number): QuotaResult;
  /**
   * Charges bytes of a taken request while they are forwarded. They may overdraw the budget, which the result
   * reports. Never throws: bytes that cannot be written stay in memory, and the next call charges them;
   * meanwhile they overdraw a budget only if they alone exceed it.
   */
  spend(limits: readonly RuleLimit[], key: QuotaKey, bytes: number, now: number): QuotaResult;
  /** Closes the file or the database; counts that other processes share remain. Idempotent. */
  close(): void;
}

/** A store of counts. No other process writes between a read and the following writes. */
export interface Counts {
  read(name: string): Count | undefined;
  /** @param stale time from which the count may be deleted, in milliseconds since the epoch */
  write(name: string, count: Count, stale: number): void;
}

/** Takes one request from every limit, or from none. */
export function takeFrom(
  counts: Counts,
  limits: readonly RuleLimit[],
  key: QuotaKey,
  now: number,
): QuotaResult {
  if (limits.length === 1) return takeOne(counts, limits[0]!, key, now);
  // By name: two limits that share a count are both charged to it.
  const next = new Map<string, { readonly limit: RuleLimit; readonly count: Count }>();
  let refused: QuotaResult = { ok: true };
  for (const limit of limits) {
    const name = countName(limit, key);
    const before = next.get(name)?.count ?? counts.read(name);
    const count = countAt(limit, before, now);
    // Also for a refused request: otherwise time would count again only from where the clock was before.
    if (before !== undefined && count.at < before.at) counts.write(name, count, staleAt(limit, count));
    const retryAfterMs = waitFrom(now, limit, count);
    if (retryAfterMs > (refused.ok ? 0 : refused.retryAfterMs)) refused = { ok: false, retryAfterMs, limit };
    next.set(name, { limit, count: charged(count, 1, 0) });
  }
  if (!refused.ok) return refused;
  for (const [name, { limit, count }] of next) counts.write(name, count, staleAt(limit, count));
  return refused;
}

/** Does the work of `takeFrom` for one limit, which most rules have. */
function takeOne(counts: Counts, limit: RuleLimit, key: QuotaKey, now: number): QuotaResult {
  const name = countName(limit, key);
  const before = counts.read(name);
  const count = countAt(limit, before, now);
  const retryAfterMs = waitFrom(now, limit, count);
  const isRefused = retryAfterMs > 0;
  const next = isRefused ? count : charged(count, 1, 0);
  // Also for a refused request: otherwise time would count again only from where the clock was before.
  if (!isRefused || (before !== undefined && count.at < before.at))
    counts.write(name, next, staleAt(limit, next));
  return isRefused ? { ok: false, retryAfterMs, limit } : taken;
}

const taken: QuotaResult = Object.freeze({ ok: true });

/** Milliseconds from `now`. A clock behind the count must first catch up with it. */
function waitFrom(now: number, limit: RuleLimit, count: Count): number {
  const wait = waitOf(limit, count);
  return wait === 0 ? 0 : wait + count.at - Math.trunc(now);
}

/** Adds bytes to the budgets of bytes, and returns whether one of them is now overdrawn. */
export function spendFrom(
  counts: Counts,
  limits: readonly RuleLimit[],
  { key, bytes }: { readonly key: QuotaKey; readonly bytes: number },
  now: number,
): QuotaResult {
  let overdrawn: QuotaResult = { ok: true };
  for (const limit of limits) {
    if (!countsBytes(limit)) continue;
    const name = countName(limit, key);
    const count = charged(countAt(limit, counts.read(name), now), 0, bytes);
    counts.write(name, count, staleAt(limit, count));
    if (isOverdrawn(limit, count))
      overdrawn = { ok: false, retryAfterMs: waitFrom(now, limit, count), limit };
  }
  return overdrawn;
}

export function countsBytes(limit: RuleLimit): boolean {
  return limit.kind === 'budget' && limit.bytes !== null;
}

/** Milliseconds between two deletions of stale counts. */
const sweepEveryMs = 60_000;

/** Returns a function that calls `sweep` on its first call and about once a minute by the callers' clock. */
export function sweepEveryMinute(sweep: (now: number) => void): (now: number) => void {
  let last: number | null = null;
  return (now) => {
    if (last !== null && now >= last && now - last < sweepEveryMs) return;
    last = now;
    sweep(now);
  };
}

/*
 * The arithmetic of limits, without a store: from a count and a time to the count at that time, the wait for
 * one more request, and the count with it.
 */

/** The usage of one limit. No count is the same as an unused one. */
export interface Count {
  /** Time of the computation, in milliseconds since the epoch. */
  readonly at: number;
  /**
   * Used requests, in parts of 1/`unit`. A rate gives back `count` parts per millisecond, and its `unit` is
   * its `perMs`, so that all sums are exact integers (up to 2^53: a burst of 100 million a day).
   */
  readonly used: number;
  readonly unit: number;
  /** Bytes of the day, for budgets. */
  readonly bytes: number;
}

/** Milliseconds by which one clock may lag behind another, or behind itself, without having been set. */
const lagMs = 60_000;

const dayMs = 86_400_000;

/** Returns the name of the count of a limit for a key. Stable while the rule exists. */
export function countName(limit: RuleLimit, { agent, grant }: QuotaKey): string {
  const counted = limit.per === 'agent' ? agent : limit.per === 'grant' ? grant : null;
  const last = lastNames.get(limit);
  if (last !== undefined && last.counted === counted) return last.name;
  const name = JSON.stringify([limit.kind, limit.key, limit.per, counted]);
  lastNames.set(limit, { counted, name });
  return name;
}

/** The last name of each limit. */
const lastNames = new WeakMap<RuleLimit, { readonly counted: string | null; readonly name: string }>();

/** Returns the count at the time `now`. */
export function countAt(limit: RuleLimit, count: Count | undefined, now: number): Count {
  const unit = limit.kind === 'rate' ? limit.perMs : 1;
  const clock = Math.trunc(now);
  if (count === undefined) return { at: clock, used: 0, unit, bytes: 0 };
  const at = clock < count.at - lagMs ? clock : Math.max(clock, count.at);
  if (limit.kind === 'budget') {
    const isNewDay = Math.floor(at / dayMs) > Math.floor(count.at / dayMs);
    return isNewDay ? { at, used: 0, unit, bytes: 0 } : { ...count, at };
  }
  // After a change of its rule, the bucket of a rate is at most empty, without a debt.
  const before = count.unit === unit ? count.used : Math.ceil((count.used / count.unit) * unit);
  const used = Math.min(before, limit.burst * unit);
  const given = Math.max(0, at - count.at) * limit.count;
  return { at, used: Math.max(0, used - given), unit, bytes: 0 };
}

/** Milliseconds until one more request fits into a count of `countAt`; 0 if it fits now. */
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

/** Reports whether more bytes were forwarded than the budget allows; its last byte is still within it. */
export function isOverdrawn(limit: RuleLimit, { bytes }: Count): boolean {
  return limit.kind === 'budget' && limit.bytes !== null && bytes > limit.bytes;
}

/** Returns the count with more requests and bytes in it. */
export function charged(count: Count, requests: number, bytes: number): Count {
  return { ...count, used: count.used + requests * count.unit, bytes: count.bytes + bytes };
}

/** Returns the time from which a count equals no count for every clock, in milliseconds since the epoch. */
export function staleAt(limit: RuleLimit, { at, used }: Count): number {
  return (limit.kind === 'rate' ? at + Math.ceil(used / limit.count) : nextDay(at)) + lagMs;
}

function nextDay(at: number): number {
  return (Math.floor(at / dayMs) + 1) * dayMs;
}
