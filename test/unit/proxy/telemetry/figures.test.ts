import { expect, test } from 'vitest';
import { openMetrics } from '../../../../src/proxy/telemetry/exposition.ts';
import { addCounts, ProcessFigures } from '../../../../src/proxy/telemetry/figures.ts';

const one = (value: number, type: 'counter' | 'gauge') =>
  ({ name: type, help: '', type, aggregator: 'sum', values: [{ labels: { a: 'b' }, value }] }) as const;

const labelsOf = (figures: ProcessFigures, name: string) =>
  new Set(
    figures
      .read()
      .find((each) => each.name === name)
      ?.values.map(({ labels }) => labels['provider']),
  );

test('names that are not in the config count as other, however many there are', () => {
  const figures = new ProcessFigures((name) => name === 'github');
  for (let i = 0; i < 10_000; i += 1) {
    figures.exchanged(`name-${i}`, 'ok', { wholeMs: 1, ownMs: 1, upstreamMs: 1 });
    figures.recorded({ event: 'grant.refreshed', provider: `name-${i}` });
  }
  figures.exchanged('github', 'ok', { wholeMs: 1, ownMs: 1, upstreamMs: 1 });
  figures.exchanged(undefined, 'deny', { wholeMs: 1, ownMs: null, upstreamMs: 0 });
  expect(labelsOf(figures, 'sidekey_exchanges')).toEqual(new Set(['other', 'github', 'none']));
  expect(labelsOf(figures, 'sidekey_refreshes')).toEqual(new Set(['other']));
});

test('providers beyond the limit of labels share the figures of other', () => {
  const figures = new ProcessFigures(() => true);
  for (let i = 0; i < 1_000; i += 1)
    figures.exchanged(`provider-${i}`, 'ok', { wholeMs: 1, ownMs: 1, upstreamMs: 1 });
  expect(labelsOf(figures, 'sidekey_exchanges').size).toBe(65);
});

test('a duration counts in its bucket and all above', async () => {
  const figures = new ProcessFigures(() => true);
  figures.exchanged('github', 'ok', { wholeMs: 30, ownMs: 0.2, upstreamMs: 70_000 });
  const { text } = await openMetrics([figures.read()]);
  const bucket = (name: string, le: string) =>
    Number(
      new RegExp(`^${name}_bucket\\{provider="github",le="${le.replace('+', '\\+')}"\\} (\\d+)$`, 'm').exec(
        text,
      )?.[1],
    );
  expect(bucket('sidekey_exchange_seconds', '0.025')).toBe(0);
  expect(bucket('sidekey_exchange_seconds', '0.05')).toBe(1);
  expect(bucket('sidekey_exchange_own_seconds', '0.00025')).toBe(1);
  expect(bucket('sidekey_exchange_upstream_seconds', '60')).toBe(0);
  expect(bucket('sidekey_exchange_upstream_seconds', '+Inf')).toBe(1);
});

test('counts of ended processes are added up, and their gauges are dropped', () => {
  const [sum, ...more] = addCounts([one(2, 'counter'), one(7, 'gauge')], [one(3, 'counter')]);
  expect(sum?.values).toEqual([{ labels: { a: 'b' }, value: 5 }]);
  expect(more).toEqual([]);
});
