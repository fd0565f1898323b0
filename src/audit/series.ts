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
  const total: Counts = new Map();
  const groups = new Map<string | null, Counts>();
  for await (const line of withoutWaiting(lines)) {
    const index = Math.floor((Date.parse(line.time) - since) / step);
    if (!(index >= 0 && index < count)) continue;
    add(total, index, line);
    if (by === undefined) continue;
    const key = line[by] ?? null;
    if (!groups.has(key) && groups.size < maxValues) groups.set(key, new Map());
    const counts = groups.get(key);
    if (counts !== undefined) add(counts, index, line);
  }
  const bucketsOf = (counts: Counts) =>
    Array.from({ length: count }, (_, index) => {
      const { durations, ...numbers } = counts.get(index) ?? emptyBucket();
      const time = new Date(since + index * step).toISOString();
      return { time, ...numbers, p50_ms: durations.at(0.5), p99_ms: durations.at(0.99) };
    });
  const answer = { step: step / 1_000, buckets: bucketsOf(total) };
  if (by === undefined) return answer;
  const largest = Array.from(groups, ([key, counts]) => ({ key, counts, requests: requestsOf(counts) }))
    .filter(({ requests }) => requests > 0)
    .toSorted((a, b) => b.requests - a.requests)
    .slice(0, maxGroups);
  return { ...answer, groups: largest.map(({ key, counts }) => ({ key, buckets: bucketsOf(counts) })) };
}

function emptyBucket() {
  return { exchanges: 0, refusals: 0, failures: 0, refreshes: 0, durations: createQuantiles() };
}

/** Buckets by their index. Those without lines take no memory. */
type Counts = Map<number, ReturnType<typeof emptyBucket>>;

function add(counts: Counts, index: number, { event, outcome, duration_ms }: AuditLine): void {
  const bucket = counts.get(index) ?? emptyBucket();
  counts.set(index, bucket);
  if (event === 'denied') bucket.refusals += 1;
  if (event === 'grant.refreshed') bucket.refreshes += 1;
  if (event !== 'outcome') return;
  bucket.exchanges += 1;
  if (outcome !== 'ok') bucket.failures += 1;
  if (duration_ms !== undefined) bucket.durations.add(duration_ms);
}

function requestsOf(counts: Counts): number {
  return [...counts.values()].reduce((sum, { exchanges, refusals }) => sum + exchanges + refusals, 0);
}
