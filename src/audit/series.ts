import { SidekeyError } from '../lib/errors.ts';
import type { AuditLine } from '../domain/event.ts';
import { createQuantiles } from './summary.ts';

/** Counts of the audit log over time, for plots. */

interface Range {
  /** Milliseconds since the epoch; `since` is inclusive, `until` exclusive. */
  readonly since: number;
  readonly until: number;
}

/** Numbers of one span of time. Latencies are in milliseconds; null if no exchange ended. */
interface Bucket {
  readonly time: string;
  readonly exchanges: number;
  readonly refusals: number;
  readonly failures: number;
  readonly refreshes: number;
  readonly p50_ms: number | null;
  readonly p99_ms: number | null;
}

const usualBuckets = 60;
const maxBuckets = 1_500;

/**
 * Counts the lines of a range in buckets of `stepMs`; null: 60 buckets.
 *
 * @throws SidekeyError `input_invalid` for a range that is empty or has too many buckets
 */
export async function seriesOf(
  lines: AsyncIterable<AuditLine>,
  { since, until }: Range,
  stepMs: number | null,
): Promise<{ readonly step: number; readonly buckets: readonly Bucket[] }> {
  const step = stepMs ?? Math.max(1_000, Math.ceil((until - since) / usualBuckets));
  const count = Math.ceil((until - since) / step);
  if (!(count >= 1 && count <= maxBuckets)) {
    throw new SidekeyError('input_invalid', `The range is empty, or has more than ${maxBuckets} buckets.`, {
      hint: 'give since before until, and a longer step',
    });
  }
  const counts = Array.from({ length: count }, () => ({
    exchanges: 0,
    refusals: 0,
    failures: 0,
    refreshes: 0,
    durations: createQuantiles(),
  }));
  for await (const { time, event, outcome, duration_ms } of lines) {
    const bucket = counts[Math.floor((Date.parse(time) - since) / step)];
    if (bucket === undefined) continue;
    if (event === 'denied') bucket.refusals += 1;
    if (event === 'grant.refreshed') bucket.refreshes += 1;
    if (event !== 'outcome') continue;
    bucket.exchanges += 1;
    if (outcome !== 'ok') bucket.failures += 1;
    if (duration_ms !== undefined) bucket.durations.add(duration_ms);
  }
  const buckets = counts.map(({ durations, ...numbers }, index) => ({
    time: new Date(since + index * step).toISOString(),
    ...numbers,
    p50_ms: durations.at(0.5),
    p99_ms: durations.at(0.99),
  }));
  return { step: step / 1_000, buckets };
}
