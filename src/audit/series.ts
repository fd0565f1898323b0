import { SidekeyError } from '../lib/errors.ts';
import type { AuditLine } from '../domain/event.ts';
import { createQuantiles } from './summary.ts';
import { withoutWaiting } from './waiting.ts';

/** Counts of the audit log over time, for charts. */

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

/** Buckets of the lines with one value of a field. */
interface Group {
  /** The value; null: lines without the field. */
  readonly key: string | null;
  readonly buckets: readonly Bucket[];
}

/** Fields by which lines are grouped. */
export const groupFields = ['agent', 'host', 'grant'] as const;

const usualBuckets = 60;
const maxBuckets = 1_500;
const maxGroups = 10;
/** Maximum number of values of a field that are counted apart. Later values only count in the whole. */
const maxValues = 1_000;

/**
 * Counts the lines of a range in buckets of `stepMs`; null: 60 buckets. With `by`, also counts the lines of
 * each value of that field, and returns the ten values with the most exchanges and refusals.
 *
 * @throws SidekeyError `input_invalid` for a range that is empty or has too many buckets
 */
export async function seriesOf(
  lines: AsyncIterable<AuditLine>,
  { since, until }: Range,
  stepMs: number | null,
  by?: (typeof groupFields)[number],
): Promise<{ step: number; buckets: readonly Bucket[]; groups?: readonly Group[] }> {
  const step = stepMs ?? Math.max(1_000, Math.ceil((until - since) / usualBuckets));
  const count = Math.ceil((until - since) / step);
  if (!(count >= 1 && count <= maxBuckets)) {
    throw new SidekeyError('input_invalid', `The range is empty, or has more than ${maxBuckets} buckets.`, {
      hint: 'give since before until, and a longer step',
    });
  }
  const total = createCounts();
  const groups = new Map<string | null, ReturnType<typeof createCounts>>();
  for await (const line of withoutWaiting(lines)) {
    const index = Math.floor((Date.parse(line.time) - since) / step);
    if (!(index >= 0 && index < count)) continue;
    total.add(index, line);
    if (by === undefined) continue;
    const key = line[by] ?? null;
    if (!groups.has(key) && groups.size < maxValues) groups.set(key, createCounts());
    groups.get(key)?.add(index, line);
  }
  const bucketsOf = ({ at }: ReturnType<typeof createCounts>) =>
    Array.from({ length: count }, (_, index) => {
      const { durations, ...numbers } = at(index);
      const time = new Date(since + index * step).toISOString();
      return { time, ...numbers, p50_ms: durations.at(0.5), p99_ms: durations.at(0.99) };
    });
  const answer = { step: step / 1_000, buckets: bucketsOf(total) };
  if (by === undefined) return answer;
  const largest = [...groups]
    .filter(([, counts]) => counts.requests() > 0)
    .toSorted(([, a], [, b]) => b.requests() - a.requests())
    .slice(0, maxGroups);
  return { ...answer, groups: largest.map(([key, counts]) => ({ key, buckets: bucketsOf(counts) })) };
}

function emptyBucket() {
  return { exchanges: 0, refusals: 0, failures: 0, refreshes: 0, durations: createQuantiles() };
}

/** Counters of lines by the index of their bucket. Buckets without lines take no memory. */
function createCounts() {
  const buckets = new Map<number, ReturnType<typeof emptyBucket>>();
  let requests = 0;
  return {
    add(index: number, { event, outcome, duration_ms }: AuditLine): void {
      const bucket = buckets.get(index) ?? emptyBucket();
      buckets.set(index, bucket);
      if (event === 'denied') bucket.refusals += 1;
      if (event === 'grant.refreshed') bucket.refreshes += 1;
      if (event === 'denied' || event === 'outcome') requests += 1;
      if (event !== 'outcome') return;
      bucket.exchanges += 1;
      if (outcome !== 'ok') bucket.failures += 1;
      if (duration_ms !== undefined) bucket.durations.add(duration_ms);
    },
    at: (index: number) => buckets.get(index) ?? emptyBucket(),
    requests: () => requests,
  };
}
