import { expect, test } from 'vitest';
import type { Plan } from '../../bench/measures.ts';
import { report } from '../../bench/report.ts';
import { Results } from '../../bench/results.ts';
import type { Subject } from '../../bench/subject.ts';

const plan: Plan = {
  seconds: 1,
  rounds: 2,
  warmSeconds: 10,
  connections: 64,
  perSecond: 500,
  coldHostsPerRound: 1,
  idleCounts: [1_000, 10_000],
  idlePatience: 1,
  retries: 0,
};

function subject(id: string, title: string): Subject {
  return { id, title, what: title, adds: false, coldReason: null, filesPerTunnel: 1, prepare: null };
}

const subjects = [
  subject('direct', 'no proxy'),
  subject('tunnel', 'blind tunnel'),
  subject('sidekey', 'Sidekey'),
];

function printed(results: Results): Map<string, string[]> {
  const text = report(
    { subjects, missing: ['mockttp: not installed'], results, plan, server: 'x' },
    { markdown: true },
  );
  const cells = text
    .split('\n')
    .filter((line) => line.startsWith('|'))
    .map((line) =>
      line
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim()),
    );
  return new Map([
    ...cells.map(([title = '', ...rest]): [string, string[]] => [title, rest]),
    ['text', [text]],
  ]);
}

function sample(figures: Record<string, number>, isClientBound = false) {
  return { figures, isClientBound };
}

test('the CPU figure is that of the best window, and its ratio is relative to the best window of the baseline', () => {
  const results = new Results();
  for (const cpu of [14, 12]) results.add('tunnel', 'exchange', sample({ cpu }));
  for (const cpu of [24, 30]) results.add('sidekey', 'exchange', sample({ cpu }));
  const rows = printed(results);
  expect(rows.get('CPU µs an exchange')).toEqual(['–', '12.0', '24.0']);
  expect(rows.get('least–most')).toEqual(['–', '12.0–14.0', '24.0–30.0']);
  expect(rows.get('÷ blind tunnel')).toEqual(['–', '1.00', '2.00']);
});

test('added latency is the difference to the same round without a proxy', () => {
  const results = new Results();
  for (const p50 of [100, 300]) results.add('direct', 'single', sample({ p50 }));
  for (const p50 of [140, 345]) results.add('sidekey', 'single', sample({ p50 }));
  expect(printed(results).get('added p50 µs, 1 client')).toEqual(['(300)', '–', '45']);
});

test('a rate that was limited by the client is marked', () => {
  const results = new Results();
  results.add('tunnel', 'exchange', sample({ perSecond: 60_000 }, true));
  results.add('sidekey', 'exchange', sample({ perSecond: 20_000 }));
  expect(printed(results).get('exchanges/s at 64')).toEqual(['–', '60,000*', '20,000']);
});

test('missing and skipped rows are listed with the reason', () => {
  const results = new Results();
  results.leaveOut('tunnel', 'idle-many', 'needs 20,200 open files');
  const [text] = printed(results).get('text') ?? [];
  expect(text).toContain('missing: mockttp: not installed');
  expect(text).toContain('left out: blind tunnel, idle-many: needs 20,200 open files');
});
