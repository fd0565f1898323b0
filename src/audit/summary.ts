/**
 * What each agent did with each grant, in numbers. Memory: one entry for each agent and grant, and one for each exchange
 * without an outcome so far.
 */
import type { AuditLine } from './event.ts';

/** One agent and one grant. */
export interface SummaryRow {
  /** Null: the caller named no agent. */
  readonly agent: string | null;
  /** Id of the grant; null: what was let through without one, or refused before one was chosen. */
  readonly grant: string | null;
  /** Exchanges and tunnels that were let through. */
  readonly requests: number;
  /** Those that were refused. */
  readonly refusals: number;
  /** Of those let through, the ones that failed or were broken off. */
  readonly failures: number;
  /** Body bytes from the client and to the client. */
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** Milliseconds, to within one in a hundred; null: nothing was timed. */
  readonly p50: number | null;
  readonly p99: number | null;
  /** Of the last line, be it a refusal: ISO 8601. */
  readonly lastUse: string;
}

interface Counted {
  readonly agent: string | null;
  readonly grant: string | null;
  requests: number;
  refusals: number;
  failures: number;
  bytesIn: number;
  bytesOut: number;
  lastUse: string;
  readonly durations: Quantiles;
}

const counted: ReadonlySet<string> = new Set(['access', 'outcome', 'denied', 'tunnel']);

/** Counts lines; rows come with the most requests first. Lines that are about no request do not count. */
export async function summarize(lines: AsyncIterable<AuditLine>): Promise<SummaryRow[]> {
  const rows = new Map<string, Counted>();
  /** Exchanges that have begun: one has a second access where its token was refused and refreshed. */
  const begun = new Set<string>();
  for await (const line of lines) {
    if (!counted.has(line.event)) continue;
    const { agent = null, grant = null } = line;
    const key = JSON.stringify([agent, grant]);
    let row = rows.get(key);
    if (row === undefined) {
      row = {
        agent,
        grant,
        requests: 0,
        refusals: 0,
        failures: 0,
        bytesIn: 0,
        bytesOut: 0,
        lastUse: line.time,
        durations: createQuantiles(),
      };
      rows.set(key, row);
    }
    const { exchange = '' } = line;
    if (line.event === 'denied') row.refusals += 1;
    else if (line.event !== 'access') begun.delete(exchange);
    else if (!begun.has(exchange)) {
      row.requests += 1;
      if (exchange !== '') begun.add(exchange);
    }
    if (line.event === 'outcome') {
      if (line.outcome !== 'ok') row.failures += 1;
      if (line.duration_ms !== undefined) row.durations.add(line.duration_ms);
    }
    row.bytesIn += line.bytes_in ?? 0;
    row.bytesOut += line.bytes_out ?? 0;
    if (line.time > row.lastUse) row.lastUse = line.time;
  }
  return Array.from(rows.values(), ({ durations, ...row }) => ({
    ...row,
    p50: durations.at(0.5),
    p99: durations.at(0.99),
  })).toSorted((a, b) => b.requests + b.refusals - (a.requests + a.refusals));
}

/** Quantiles of numbers that are not negative, to within one in a hundred, in some hundred counters. */
interface Quantiles {
  add(value: number): void;
  /** The value below or at which that share of all is; null where there is none. */
  at(share: number): number | null;
}

/** Counters whose bounds grow by 2 % (a DDSketch: Masson, Rim, Lee, VLDB 2019, §2). */
export function createQuantiles(): Quantiles {
  const growth = Math.log(1.02);
  const counts = new Map<number, number>();
  let zeros = 0;
  let total = 0;
  return {
    add(value) {
      if (!(value >= 0) || value === Infinity) return;
      total += 1;
      // Less than a microsecond is nothing.
      if (value < 0.001) zeros += 1;
      else {
        const bucket = Math.ceil(Math.log(value) / growth);
        counts.set(bucket, (counts.get(bucket) ?? 0) + 1);
      }
    },
    at(share) {
      if (total === 0) return null;
      let left = Math.max(1, Math.ceil(share * total)) - zeros;
      if (left <= 0) return 0;
      for (const [bucket, count] of [...counts].toSorted(([a], [b]) => a - b)) {
        left -= count;
        if (left <= 0) return Math.round(((2 * Math.exp(bucket * growth)) / 2.02) * 1_000) / 1_000;
      }
      return null;
    },
  };
}
