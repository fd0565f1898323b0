import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { call } from './api.ts';
import { Chart } from './chart.tsx';
import { grantName } from './grant-name.ts';
import type { RowFilter } from './live.ts';
import { Choice, Field, Form, Loaded } from './parts.tsx';
import { useResource } from './resource.ts';
import type { Metrics } from '../sdk/client/operations.ts';

/** Charts of requests over time. */

type Bucket = Metrics['buckets'][number];

/** Length of a window that ends now, in milliseconds, or the ends of a fixed one. */
type Window = number | readonly [since: Date, until: Date];

const spans = [
  ['15 minutes', 900_000],
  ['Hour', 3_600_000],
  ['Day', 86_400_000],
  ['Week', 604_800_000],
] as const;

/** Milliseconds from an answer to the next read of a window that ends now. */
const refreshMs = 15_000;

/** Lines of a chart with groups; the rest is one more. */
const maxLines = 3;

export function OverTime({
  filter: { agent = '', host = '', grant = '' },
}: {
  readonly filter: RowFilter;
}): JSX.Element {
  const [window, setWindow] = useState<Window>(3_600_000);
  const [by, setBy] = useState('');
  const metrics = useResource(
    (signal) => {
      const now = Date.now();
      const ends = typeof window === 'number' ? [new Date(now - window), new Date(now)] : window;
      const [since, until] = ends.map((end) => end.toISOString()) as [string, string];
      const conditions = Object.entries({ since, until, agent, host, grant, by });
      const query = new URLSearchParams(conditions.filter(([, value]) => value !== ''));
      return call<Metrics>(`GET /v2/metrics?${query}`, undefined, signal);
    },
    [window, by, agent, host, grant],
  );
  // Anew after each answer: a reload ends a read in progress.
  useEffect(() => {
    const timer = setInterval(() => {
      if (typeof window !== 'number' || document.hidden) return;
      clearInterval(timer);
      void metrics.reload();
    }, refreshMs);
    return () => clearInterval(timer);
  }, [metrics.reload, metrics.data, metrics.error]);
  return (
    <section aria-label="Over time">
      <h2>Over time</h2>
      <div class="bar" style={{ alignItems: 'end' }}>
        {spans.map(([label, ms]) => (
          <button key={ms} type="button" aria-pressed={ms === window} onClick={() => setWindow(ms)}>
            {label}
          </button>
        ))}
        <Choice
          label="Split by"
          name="by"
          options={[['', 'nothing'], 'agent', 'host', ['grant', 'account']]}
          onChange={setBy}
        />
      </div>
      <details style={{ marginBottom: '1rem' }}>
        <summary>Another window</summary>
        <Form
          label="Show"
          keep
          submit={({ since = '', until = '' }) => setWindow([new Date(since), new Date(until)])}
        >
          <Field label="From" name="since" type="datetime-local" required />
          <Field label="Until" name="until" type="datetime-local" required />
        </Form>
      </details>
      <Loaded of={metrics} skeleton={6}>
        {(found) => (
          <div class="plots" style={{ '--column': '24rem' }}>
            {chartsOf(found, by).map(({ title, unit, series }) => (
              <Chart
                key={[title, ...series.map(({ name }) => name)].join('\n')}
                title={unit === '' ? `${title} per ${stepText(found.step)}` : title}
                unit={unit}
                series={series}
                times={found.buckets.map(({ time }) => time)}
                onWindow={(...ends) => setWindow(ends)}
              />
            ))}
          </div>
        )}
      </Loaded>
    </section>
  );
}

function stepText(seconds: number): string {
  if (seconds < 60) return `${seconds} s`;
  return seconds < 3_600 ? `${Math.round(seconds / 6) / 10} min` : `${Math.round(seconds / 360) / 10} h`;
}

type Read = (bucket: Bucket) => number | null;

const requests = ({ exchanges, refusals }: Bucket) => exchanges + refusals;
const refusals = (bucket: Bucket) => bucket.refusals;
const failures = (bucket: Bucket) => bucket.failures;
const refreshes = (bucket: Bucket) => bucket.refreshes;
const median = (bucket: Bucket) => bucket.p50_ms;

/** Title, unit and lines of the charts of the whole. */
const wholes: readonly (readonly [string, string, Readonly<Record<string, Read>>])[] = [
  ['Requests', '', { requests }],
  ['Latency', 'ms', { median, '99th percentile': ({ p99_ms }) => p99_ms }],
  ['Refusals and failures', '', { refusals, failures }],
  ['Token refreshes', '', { refreshes }],
];

/** Title, unit and value of the charts with a line for each group. Numbers without a unit add up. */
const parts: readonly (readonly [string, string, Read])[] = [
  ['Requests', '', requests],
  ['Median latency', 'ms', median],
  ['Refusals', '', refusals],
  ['Failures', '', failures],
];

/** Returns the charts with their lines: of the whole, or of the first groups and of all others. */
function chartsOf({ buckets, groups }: Metrics, by: string) {
  const line = (name: string, read: Read, of = buckets) => ({ name, values: of.map(read) });
  if (groups === undefined)
    return wholes.map(([title, unit, reads]) => ({
      title,
      unit,
      series: Object.entries(reads).map(([name, read]) => line(name, read)),
    }));
  return parts.map(([title, unit, read]) => {
    const lines = groups.slice(0, maxLines).map(({ key, buckets: own }) => {
      const name = by === 'grant' && key !== null ? grantName(key) : key;
      return line(name ?? `no ${by}`, read, own);
    });
    const rest = buckets.map((bucket, at) =>
      lines.reduce((left, { values }) => left - (values[at] ?? 0), read(bucket) ?? 0),
    );
    const hasOthers = unit === '' && rest.some((value) => value > 0);
    return { title, unit, series: hasOthers ? [...lines, { name: 'others', values: rest }] : lines };
  });
}
