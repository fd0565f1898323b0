/** The table of the cost of one exchange. */
import { median } from '../results.ts';

/** Values that have a column. */
export type CostColumn = 'relay' | 'sidekey';

/** All samples, by column and figure. */
export class CostFigures {
  readonly #samples = new Map<string, number[]>();

  add(column: CostColumn, figure: string, value: number): void {
    const key = `${column} ${figure}`;
    const samples = this.#samples.get(key) ?? [];
    samples.push(value);
    this.#samples.set(key, samples);
  }

  all(column: CostColumn, figure: string): readonly number[] {
    return this.#samples.get(`${column} ${figure}`) ?? [];
  }
}

/** A goal of Sidekey: a ratio to the bare relay, or a figure. */
type Goal = { readonly ratio: number } | { readonly most: number; readonly unit: string };

interface Row {
  readonly title: string;
  readonly figure: string;
  readonly digits: number;
  readonly goal?: Goal;
}

function rowsFor(connections: number): readonly Row[] {
  const many = `${connections} clients`;
  const one = '1 client';
  return [
    { title: `CPU µs, ${many}`, figure: 'cpu-many', digits: 1, goal: { ratio: 1.5 } },
    { title: '  of which threads beside the main one', figure: 'threads-many', digits: 1 },
    { title: `CPU µs, ${one}`, figure: 'cpu-one', digits: 1, goal: { ratio: 1.6 } },
    { title: '  of which threads beside the main one', figure: 'threads-one', digits: 1 },
    {
      title: `heap bytes, ${many}`,
      figure: 'heap-many',
      digits: 0,
      goal: { most: 8_192, unit: 'bytes' },
    },
    { title: '  by the counter of V8', figure: 'counted-many', digits: 0 },
    { title: `heap bytes, ${one}`, figure: 'heap-one', digits: 0 },
    { title: '  by the counter of V8', figure: 'counted-one', digits: 0 },
    { title: `collection, % of the main thread, ${many}`, figure: 'collection-many', digits: 1 },
    { title: `collection, % of the main thread, ${one}`, figure: 'collection-one', digits: 1 },
    { title: `system calls, ${many}`, figure: 'calls-many', digits: 1 },
    { title: `system calls, ${one}`, figure: 'calls-one', digits: 1, goal: { most: 11, unit: '' } },
    { title: `audit bytes, ${many}`, figure: 'audit-many', digits: 0, goal: { most: 600, unit: 'bytes' } },
    { title: `audit bytes, ${one}`, figure: 'audit-one', digits: 0, goal: { most: 600, unit: 'bytes' } },
    { title: 'own files with code that ran', figure: 'files', digits: 0 },
    { title: 'own named functions that ran', figure: 'functions', digits: 0 },
    { title: 'calls of these', figure: 'function-calls', digits: 0 },
  ];
}

/** Heads and lines of the table. */
export function costTable(figures: CostFigures, connections: number): [heads: string[], lines: string[][]] {
  const lines = rowsFor(connections).map((row) => {
    const [relay, sidekey] = [figures.all('relay', row.figure), figures.all('sidekey', row.figure)];
    const ratio = median(sidekey) / median(relay);
    return [
      row.title,
      cell(relay, row.digits),
      cell(sidekey, row.digits),
      Number.isFinite(ratio) ? ratio.toFixed(2) : '–',
      goalText(row.goal, median(sidekey), ratio),
    ];
  });
  return [['for one exchange', 'bare relay', 'Sidekey', 'ratio', 'goal of Sidekey'], lines];
}

function cell(samples: readonly number[], digits: number): string {
  if (samples.length === 0) return '–';
  const format = (value: number) =>
    value.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits });
  const [least, most] = [format(Math.min(...samples)), format(Math.max(...samples))];
  const middle = format(median(samples));
  return least === most ? middle : `${middle} (${least}–${most})`;
}

function goalText(goal: Goal | undefined, value: number, ratio: number): string {
  if (goal === undefined) return '';
  const text =
    'ratio' in goal ? `≤ ${goal.ratio} × relay` : `≤ ${goal.most.toLocaleString('en')} ${goal.unit}`.trim();
  const compared = 'ratio' in goal ? ratio : value;
  if (!Number.isFinite(compared)) return `${text}: not measured`;
  return `${text}: ${compared <= ('ratio' in goal ? goal.ratio : goal.most) ? 'met' : 'missed'}`;
}
