import * as fc from '../support/fast-check.ts';
import { expect, it } from 'vitest';
import type { AuditEvent, AuditLine } from '../../src/domain/event.ts';
import { summarize } from '../../src/audit/summary.ts';

/** The requests as a direct observer would count them. */
const anExchange = fc.record({
  agent: fc.constantFrom('ci', 'bot', undefined),
  grant: fc.constantFrom('g-1', 'g-2', undefined),
  outcome: fc.constantFrom('refused', 'served', 'failed', 'tunneled', 'crashed'),
  /** Number of repeats after a refresh. Each repeat is an access. */
  replays: fc.nat(2),
  took: fc.double({ min: 0, max: 1e6, noNaN: true }),
  bytesIn: fc.nat(1e6),
  bytesOut: fc.nat(1e6),
});
type Exchange = typeof anExchange extends fc.Arbitrary<infer T> ? T : never;

/** The lines that the proxy writes of it. */
function linesOf(
  { agent, grant, outcome, replays, took, bytesIn, bytesOut }: Exchange,
  exchange: string,
): AuditEvent[] {
  const base = { exchange, agent, grant };
  if (outcome === 'refused') return [{ ...base, event: 'denied', duration_ms: took }];
  const access: AuditEvent = { ...base, event: 'access' };
  const carried = { ...base, bytes_in: bytesIn, bytes_out: bytesOut, duration_ms: took };
  const end: Record<typeof outcome, AuditEvent[]> = {
    served: [{ ...carried, event: 'outcome', outcome: 'ok' }],
    failed: [{ ...carried, event: 'outcome', outcome: 'failed' }],
    tunneled: [{ ...carried, event: 'tunnel', outcome: 'ok' }],
    crashed: [],
  };
  return [...Array.from({ length: outcome === 'tunneled' ? 1 : 1 + replays }, () => access), ...end[outcome]];
}

/** Lines of all exchanges, those of each in order, and others between them. */
const aLog = fc.array(anExchange, { maxLength: 25 }).chain((exchanges) => {
  const queues = exchanges.map((each, index) => linesOf(each, `x${index}`));
  const turns = queues.flatMap((queue, index) => queue.map(() => index));
  return fc.shuffledSubarray(turns, { minLength: turns.length }).map((order) => {
    const left = queues.map((queue) => [...queue]);
    const lines = order.flatMap((index) => left[index]?.shift() ?? []);
    const noise: AuditEvent = { event: 'grant.refreshed', grant: 'g-1', duration_ms: 5, bytes_in: 7 };
    return {
      exchanges,
      lines: [noise, ...lines, noise].map((line, index) => ({
        ...line,
        time: new Date(1_767_000_000_000 + index * 60_000).toISOString(),
      })),
    };
  });
});

/** The nearest rank, of all values. */
function rank(values: readonly number[], share: number): number | null {
  return values.toSorted((a, b) => a - b)[Math.max(1, Math.ceil(share * values.length)) - 1] ?? null;
}

it('the summary agrees with the events in every number for every agent and grant', async () => {
  await fc.assert(
    fc.asyncProperty(aLog, async ({ exchanges, lines }) => {
      const rows = await summarize(stream(lines as AuditLine[]));
      const groups = Map.groupBy(exchanges, ({ agent, grant }) =>
        JSON.stringify([agent ?? null, grant ?? null]),
      );
      expect(rows.map(({ agent, grant }) => JSON.stringify([agent, grant])).toSorted()).toEqual(
        [...groups.keys()].toSorted(),
      );
      for (const { p50, p99, ...row } of rows) {
        const all = groups.get(JSON.stringify([row.agent, row.grant])) ?? [];
        const of = (...fates: readonly string[]) => all.filter(({ outcome }) => fates.includes(outcome));
        const carried = of('served', 'failed', 'tunneled');
        const last = lines.findLast(
          ({ event, agent = null, grant = null }) =>
            event !== 'grant.refreshed' && agent === row.agent && grant === row.grant,
        );
        expect(row).toEqual({
          agent: row.agent,
          grant: row.grant,
          requests: all.length - of('refused').length,
          refusals: of('refused').length,
          failures: of('failed').length,
          bytesIn: carried.reduce((sum, { bytesIn }) => sum + bytesIn, 0),
          bytesOut: carried.reduce((sum, { bytesOut }) => sum + bytesOut, 0),
          lastUse: last?.time,
        });
        const times = of('served', 'failed').map(({ took }) => took);
        within(p50, rank(times, 0.5));
        within(p99, rank(times, 0.99));
      }
    }),
    { numRuns: 300 },
  );
});

/** To one in a hundred, and the rounding to a microsecond. */
function within(found: number | null, exact: number | null): void {
  if (exact === null || found === null) expect(found).toBe(exact);
  else expect(Math.abs(found - exact)).toBeLessThanOrEqual(exact * 0.0101 + 0.001);
}

async function* stream(lines: readonly AuditLine[]): AsyncGenerator<AuditLine> {
  yield* lines;
}
