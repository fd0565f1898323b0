import type { AuditLine } from './event.ts';

/** Use of a grant by an agent, in numbers. */
export interface SummaryRow {
  /** Null: the caller named no agent. */
  readonly agent: string | null;
  /** Id of the grant; null: allowed without one, or refused before one was selected. */
  readonly grant: string | null;
  /** Exchanges and tunnels that were allowed. */
  readonly requests: number;
  readonly refusals: number;
  /** Allowed exchanges and tunnels that failed or were aborted. */
  readonly failures: number;
  /** Body bytes from the client and to the client. */
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** Milliseconds, to within 1 %; null: nothing was timed. */
  readonly p50: number | null;
  readonly p99: number | null;
  /** Time of the last line, also of a refusal: ISO 8601. */
  readonly lastUse: string;
}

type Counted = { -readonly [K in keyof Omit<SummaryRow, 'p50' | 'p99'>]: SummaryRow[K] } & {
  readonly durations: ReturnType<typeof createQuantiles>;
};

const counted: ReadonlySet<string> = new Set(['access', 'outcome', 'denied', 'tunnel']);

/**
 * Counts lines about requests; most requests first. Keeps one entry in memory for each agent and grant, and for each
 * exchange without an outcome.
 */
export async function summarize(lines: AsyncIterable<AuditLine>): Promise<SummaryRow[]> {
  const rows = new Map<string, Counted>();
  /** Exchanges that have begun: one has a second access if its token was refused and refreshed. */
  const begun = new Set<string>();
  for await (const line of lines) {
    if (!counted.has(line.event)) continue;
    const { agent = null, grant = null, exchange = '' } = line;
    const key = JSON.stringify([agent, grant]);
    let row = rows.get(key);
    if (row === undefined) {
      const zeros = { requests: 0, refusals: 0, failures: 0, bytesIn: 0, bytesOut: 0 };
      row = { agent, grant, ...zeros, lastUse: line.time, durations: createQuantiles() };
      rows.set(key, row);
    }
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

/**
 * Quantiles of non-negative numbers to within 1 %, in some hundred counters whose bounds grow by 2 % (a DDSketch: Masson,
 * Rim, Lee, VLDB 2019, §2).
 */
export function createQuantiles() {
  const growth = Math.log(1.02);
  const counts = new Map<number, number>();
  let zeros = 0;
  let total = 0;
  return {
    add(value: number): void {
      if (!(value >= 0) || value === Infinity) return;
      total += 1;
      // Less than a microsecond counts as zero.
      if (value < 0.001) zeros += 1;
      else {
        const bucket = Math.ceil(Math.log(value) / growth);
        counts.set(bucket, (counts.get(bucket) ?? 0) + 1);
      }
    },
    /** Returns the value that this share of the numbers does not exceed; null without numbers. */
    at(share: number): number | null {
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
