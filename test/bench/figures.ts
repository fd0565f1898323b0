/**
 * Cost of the counters of an exchange, in nanoseconds, and its share of the CPU time that an exchange may
 * take, which must stay below 2 %. A part of `npm run bench`; alone: `npm run bench -- --section figures`.
 */
import { createDisplay, table } from '../../src/cli/display.ts';
import { ProcessFigures } from '../../src/proxy/telemetry/figures.ts';

/**
 * Nanoseconds of CPU of the leanest exchange that is a goal: 1.5 × those of the bare relay
 * (docs/performance.md).
 */
const exchangeNs = 39_000;

/** Counts exchanges as `proxy/exchange.ts` does: three looks at the clock, two audit events, the counts. */
function time(figures: ProcessFigures, turns: number): number {
  const start = performance.now();
  for (let turn = 0; turn < turns; turn += 1) {
    const [begun, sent, ended] = [performance.now(), performance.now(), performance.now()];
    figures.recorded({ event: 'access' });
    figures.recorded({ event: 'outcome' });
    figures.exchanged('github', 'ok', {
      wholeMs: ended - begun,
      ownMs: sent - begun,
      upstreamMs: ended - sent,
    });
  }
  return ((performance.now() - start) * 1e6) / turns;
}

/** Measures and prints. @throws Error if counting takes 2 % of an exchange or more */
export function benchFigures({ smoke }: { readonly smoke: boolean }): Promise<void> {
  const [rounds, turns] = smoke ? [3, 20_000] : [30, 200_000];
  const figures = new ProcessFigures(() => true);
  // The least of the rounds, which a busy machine disturbs least.
  const ns = Array.from({ length: rounds }, () => time(figures, turns)).reduce((a, b) => Math.min(a, b));
  const part = (ns / exchangeNs) * 100;
  console.log('The counts of one exchange for /metrics, and their part of a lean exchange of 39 µs.');
  console.log(table(createDisplay({}, {}), ['ns/exchange', '%'], [[ns.toFixed(0), part.toFixed(2)]]));
  if (part >= 2) throw new Error('Counting takes 2 % of an exchange or more.');
  return Promise.resolve();
}
