/**
 * The arithmetic of limits, without a place where counts are kept: from a count and a time to the count at that time,
 * to whether one more request fits, to the count with it.
 */
import type { RuleLimit } from '../policy/rule.ts';
import type { Asker } from './quota.ts';

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
export const lagMs = 60_000;

const dayMs = 86_400_000;

/** The name of the count of a limit for one asker: the same for as long as the rule is. */
export function nameOf({ kind, key, per }: RuleLimit, { agent, grant }: Asker): string {
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
export function staleAt(limit: RuleLimit, { at, used }: Count): number {
  return (limit.kind === 'rate' ? at + Math.ceil(used / limit.count) : nextDay(at)) + lagMs;
}

function nextDay(at: number): number {
  return (Math.floor(at / dayMs) + 1) * dayMs;
}
