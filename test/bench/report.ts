/** The table: a row a figure, a column a subject. */
import { cpus } from 'node:os';
import { busyText } from './machine.ts';
import type { Plan } from './measures.ts';
import { median, type Results } from './results.ts';
import type { Subject } from './subject.ts';

/** Content of the report. */
export interface Outcome {
  readonly subjects: readonly Subject[];
  readonly missing: readonly string[];
  readonly results: Results;
  readonly plan: Plan;
  /** Description of the upstream. */
  readonly server: string;
}

interface Row {
  readonly title: string;
  readonly measure: string;
  readonly figure: string;
  readonly digits: number;
  /**
   * `median` of the rounds; `best`: the least, for what others on the machine can only add to; `added`: the
   * median of what the subject has more than the way without a proxy in the same round; `spread`: the least
   * and the largest of the rounds; or a ratio of bests to another subject.
   */
  readonly of: 'median' | 'best' | 'added' | 'spread' | { readonly dividedBy: readonly string[] };
}

/** Figures that a busy client falsifies. */
const limitedByClient = new Set(['perSecond', 'down', 'up', 'p50', 'p99']);

const bump = { dividedBy: ['bump'] };
const bare = { dividedBy: ['relay'] };
const blind = { dividedBy: ['tunnel', 'tinyproxy'] };

function row(title: string, path: `${string}.${string}`, of: Row['of'], digits = 0): Row {
  const [measure = '', figure = ''] = path.split('.');
  return { title, measure, figure, digits, of };
}

function rows({ connections, perSecond, idleCounts }: Plan): Row[] {
  const [few, many] = idleCounts.map((count) => count.toLocaleString('en'));
  return [
    row(`exchanges/s at ${connections}`, 'exchange.perSecond', 'median'),
    row('CPU µs an exchange', 'exchange.cpu', 'best', 1),
    row('  least–most', 'exchange.cpu', 'spread', 1),
    row('  ÷ blind tunnel', 'exchange.cpu', blind, 2),
    row('  ÷ ssl-bump', 'exchange.cpu', bump, 2),
    row('  ÷ bare relay', 'exchange.cpu', bare, 2),
    row('added p50 µs, 1 client', 'single.p50', 'added'),
    row('  p50 least–most', 'single.p50', 'spread'),
    row('added p99 µs, 1 client', 'single.p99', 'added'),
    row(`added p50 µs, ${perSecond}/s`, 'paced.p50', 'added'),
    row(`added p99 µs, ${perSecond}/s`, 'paced.p99', 'added'),
    row('10 MB down, MB/s', 'bulk.down', 'median'),
    row('10 MB up, MB/s', 'bulk.up', 'median'),
    row('10 MB, peak RSS MB', 'bulk.peakMb', 'median'),
    row('new tunnels/s', 'tunnels.perSecond', 'median'),
    row('CPU µs a new tunnel', 'tunnels.cpu', 'best'),
    row('  least–most', 'tunnels.cpu', 'spread'),
    row('  ÷ ssl-bump', 'tunnels.cpu', bump, 2),
    row('  ÷ bare relay', 'tunnels.cpu', bare, 2),
    row('cold host p50 ms', 'cold.p50', 'median', 1),
    row('cold host CPU ms', 'cold.cpu', 'best', 1),
    row(`KB a tunnel, ${few} idle`, 'idle-few.kb', 'median'),
    row(`KB a tunnel, ${many} idle`, 'idle-many.kb', 'median'),
    row('start: listens, ms', 'start.listening', 'median'),
    row('start: answers, ms', 'start.answers', 'median'),
    row('client CPU µs/exchange', 'exchange.clientCpu', 'median', 1),
  ];
}

/** The table with what one has to know to read it, as text or as Markdown. */
export function report(outcome: Outcome, { markdown }: { readonly markdown: boolean }): string {
  const { subjects, missing, results, plan, server } = outcome;
  const heads = ['', ...subjects.map(({ title }) => title)];
  const lines = rows(plan)
    .map((row) => [row.title, ...subjects.map(({ id }) => cell(results, row, id))])
    .filter(([, ...cells]) => cells.some((text) => text !== '–'));
  const marked = lines.some((line) => line.some((text) => text.endsWith('*')));
  const gaps = subjects.flatMap(({ id, title }) =>
    [...new Set(rows(plan).map(({ measure }) => measure))].flatMap((measure) => {
      const reason = results.gap(id, measure);
      return reason === null ? [] : [`${title}, ${measure}: ${reason}`];
    }),
  );
  const { rounds, seconds, warmSeconds } = plan;
  return [
    `Node.js ${process.versions.node}, ${cpus().length} × ${cpus()[0]?.model ?? 'unknown CPU'}; upstream: ${server}.`,
    `${rounds} interleaved ${rounds === 1 ? 'round' : 'rounds'}, windows of ${seconds} s, after ${warmSeconds} s of load: medians, CPU of the best window, of all processes of the subject.`,
    '"Added" is added to the way without a proxy, whose own figure stands in brackets.',
    `A window is measured again where ${busyText}: ${results.dropped} dropped.`,
    ...(results.busy > 0
      ? [`The machine was BUSY in ${results.busy} of the windows that the table has: do not quote its CPU.`]
      : []),
    ...(marked ? ['* The client had no time to spare: it limited the rate, not the subject.'] : []),
    '',
    ...(markdown ? markdownTable(heads, lines) : textTable(heads, lines)),
    '',
    ...subjects.map(({ title, what }) => `${title}: ${what}`),
    ...gaps.map((text) => `left out: ${text}`),
    ...missing.map((text) => `missing: ${text}`),
  ].join('\n');
}

function cell(results: Results, { measure, figure, digits, of }: Row, subject: string): string {
  const all = results.all(subject, measure, figure);
  const format = (value: number) =>
    value.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits });
  if (all.length === 0) return '–';
  // No program on the way has used nothing.
  if (Math.max(...all) === 0) return '–';
  const mark = limitedByClient.has(figure) && results.isClientBound(subject, measure) ? '*' : '';
  if (of === 'median') return `${format(median(all))}${mark}`;
  if (of === 'best') return format(Math.min(...all));
  if (of === 'spread') return `${format(Math.min(...all))}–${format(Math.max(...all))}`;
  if (of === 'added') {
    const base = results.all('direct', measure, figure);
    if (subject === 'direct') return `(${format(median(base))})${mark}`;
    if (base.length === 0) return '–';
    return `${format(median(all.map((value, round) => value - (base[round] ?? Number.NaN))))}${mark}`;
  }
  const other = of.dividedBy.map((id) => results.all(id, measure, figure)).find(({ length }) => length > 0);
  const ratio = other === undefined ? Infinity : Math.min(...all) / Math.min(...other);
  return Number.isFinite(ratio) ? format(ratio) : '–';
}

function textTable(heads: readonly string[], lines: readonly (readonly string[])[]): string[] {
  const widths = heads.map((_, column) => Math.max(...[heads, ...lines].map((line) => line[column]!.length)));
  return [heads, ...lines].map((line) =>
    line
      .map((text, column) => (column === 0 ? text.padEnd(widths[0]!) : text.padStart(widths[column]!)))
      .join('  ')
      .trimEnd(),
  );
}

function markdownTable(heads: readonly string[], lines: readonly (readonly string[])[]): string[] {
  const rule = heads.map((_, column) => (column === 0 ? '---' : '---:'));
  const plain = [heads, rule, ...lines];
  return plain.map((line) => `| ${line.map((text) => text.trim()).join(' | ')} |`);
}
