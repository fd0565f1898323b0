import { expect, test } from 'vitest';
import { isQuiet, statOf } from '../../bench/machine.ts';
import { costTable, CostFigures } from '../../bench/cost/report.ts';
import { countsOf } from '../../bench/cost/strace.ts';

test('the table of strace is parsed to calls by name, with and without errors', () => {
  const text = `% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 61.11    0.000011           5         2         1 statx
 38.89    0.000007           0      1234           read
------ ----------- ----------- --------- --------- ----------------
100.00    0.000018           0      1236         1 total
`;
  expect([...countsOf(text)]).toEqual([
    ['statx', 2],
    ['read', 1234],
  ]);
});

test('a window is quiet without steal and without other programs', () => {
  expect(statOf('cpu  100 20 30 4000 50 6 7 8 9 0')).toEqual({ busyMicros: 1_630_000, stealMicros: 80_000 });
  expect(isQuiet({ steal: 0.02, others: 0.05 })).toBe(true);
  expect(isQuiet({ steal: 0.03, others: 0 })).toBe(false);
  expect(isQuiet({ steal: 0, others: 0.06 })).toBe(false);
});

test('a goal is compared with the ratio of medians, or with the figure', () => {
  const figures = new CostFigures();
  for (const micros of [20, 30, 25]) figures.add('relay', 'cpu-many', micros);
  for (const micros of [36, 90, 40]) figures.add('sidekey', 'cpu-many', micros);
  figures.add('sidekey', 'calls-one', 10);
  const [, lines] = costTable(figures, 64);
  expect(lines.find(([title]) => title === 'CPU µs, 64 clients')).toEqual([
    'CPU µs, 64 clients',
    '25.0 (20.0–30.0)',
    '40.0 (36.0–90.0)',
    '1.60',
    '≤ 1.5 × relay: missed',
  ]);
  expect(lines.find(([title]) => title === 'system calls, 1 client')).toEqual([
    'system calls, 1 client',
    '–',
    '10.0',
    '–',
    '≤ 11: met',
  ]);
  expect(lines.find(([title]) => title === 'heap bytes, 64 clients')?.at(-1)).toBe(
    '≤ 8,192 bytes: not measured',
  );
});
