import { SidekeyError } from '../errors.ts';
import type { LimitScope, RuleLimit } from './rule.ts';

/**
 * The refusal of a request for which a limit leaves nothing: 429 (RFC 6585 §4) with `Retry-After`.
 * @param retryAfterMs milliseconds until the limit leaves enough for one more
 */
export function limitReached(limit: RuleLimit, retryAfterMs: number): SidekeyError {
  const scope = scopes[limit.per];
  return new SidekeyError('rate_limited', `A rule allows ${scope} ${boundOf(limit)}, and they are used up.`, {
    hint: `Try again in ${durationText(Math.ceil(retryAfterMs / 1_000) * 1_000)}, or raise the limit ${limit.key}`,
    retryAfterMs,
  });
}

const scopes: Readonly<Record<LimitScope, string>> = {
  agent: 'this agent',
  grant: 'all requests with this grant together',
  rule: 'all requests of the rule together',
};

/** How often, or how much, a limit leaves: `60 requests every 1 min`. */
export function boundOf(limit: RuleLimit): string {
  if (limit.kind === 'rate') {
    const burst = limit.burst === limit.count ? '' : ` (and ${limit.burst} at once)`;
    return `${quantity(limit.count, 'request')} every ${durationText(limit.perMs)}${burst}`;
  }
  const bounds = [
    ...(limit.requests === null ? [] : [quantity(limit.requests, 'request')]),
    ...(limit.bytes === null ? [] : [quantity(limit.bytes, 'byte')]),
  ];
  return `${bounds.join(' and ')} a day (UTC)`;
}

const units = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['min', 60_000],
] as const;

/** A duration in the largest unit that it is a whole number of, or else in seconds. */
function durationText(ms: number): string {
  const [unit, size] = units.find(([, each]) => ms >= each && ms % each === 0) ?? ['s', 1_000];
  return `${ms / size} ${unit}`;
}

function quantity(count: number, noun: string): string {
  return `${count.toLocaleString('en')} ${noun}${count === 1 ? '' : 's'}`;
}
