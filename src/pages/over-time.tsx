import type { JSX } from 'preact';
import { useEffect, useMemo, useState } from 'preact/hooks';
import { call } from './api.ts';
import { Chart } from './chart.tsx';
import { grantName } from './grant-name.ts';
import type { RowFilter } from './live.ts';
import { Choice, Field, Form, Loaded } from './parts.tsx';
import { useResource } from './resource.ts';
import type { Metrics } from '../sdk/client/operations.ts';

/** Charts of requests over time. */

type Bucket = Metrics['buckets'][number];

/** A window that ends now, in milliseconds, or one with fixed ends. */
type Window = { readonly span: number } | { readonly since: Date; readonly until: Date };

const spans = [
  ['15 minutes', 900_000],
  ['Hour', 3_600_000],
  ['Day', 86_400_000],
  ['Week', 604_800_000],
] as const;

/** Milliseconds between two reads of a window that ends now. */
const refreshMs = 15_000;

/** At least two charts in a row, where there is room. */
const twoColumns = { gridTemplateColumns: 'repeat(auto-fit, minmax(min(24rem, 100%), 1fr))' };

/** Lines of a chart with groups; the rest is one more. */
const maxLines = 3;

export function OverTime({
  filter: { agent = '', host = '', grant = '' },
}: {
  readonly filter: RowFilter;
}): JSX.Element {
  const [window, setWindow] = useState<Window>({ span: 3_600_000 });
  const [by, setBy] = useState('');
  const span = 'span' in window ? window.span : undefined;
  const metrics = useResource(
    (signal) => {
      const now = Date.now();
      const { since, until } =
        'span' in window ? { since: new Date(now - window.span), until: new Date(now) } : window;
      const query = new URLSearchParams({ since: since.toISOString(), until: until.toISOString() });
      for (const [name, value] of Object.entries({ agent, host, grant, by }))
        if (value !== '') query.set(name, value);
      return call<Metrics>(`GET /v2/metrics?${query}`, undefined, signal);
    },
    [window, by, agent, host, grant],
  );
  const { data } = metrics;
  useEffect(() => {
    const timer = setTimeout(() => {
      if (span !== undefined && !document.hidden) void metrics.reload();
    }, refreshMs);
    return () => clearTimeout(timer);
  }, [data, span]);
  return (
    <section aria-label="Over time">
      <h2>Over time</h2>
      <div class="bar" style={{ alignItems: 'end' }}>
        {spans.map(([label, ms]) => (
          <button key={ms} type="button" aria-pressed={ms === span} onClick={() => setWindow({ span: ms })}>
            {label}
          </button>
        ))}
        <Choice
          label="Split by"
          name="by"
          options={[
            ['', 'nothing'],
            ['agent', 'agent'],
            ['host', 'host'],
            ['grant', 'account'],
          ]}
          onChange={setBy}
        />
      </div>
      <details style={{ marginBottom: '1rem' }}>
        <summary>Another window</summary>
        <Form
          label="Show"
          keep
          submit={({ since = '', until = '' }) =>
            setWindow({ since: new Date(since), until: new Date(until) })
          }
        >
          <Field label="From" name="since" type="datetime-local" required />
          <Field label="Until" name="until" type="datetime-local" required />
        </Form>
      </details>
      <Loaded of={metrics} skeleton={6}>
        {(found) => <Charts found={found} by={by} onWindow={(since, until) => setWindow({ since, until })} />}
      </Loaded>
    </section>
  );
}

function stepText(seconds: number): string {
  if (seconds < 60) return `${seconds} s`;
  return seconds < 3_600 ? `${Math.round(seconds / 6) / 10} min` : `${Math.round(seconds / 360) / 10} h`;
}

interface ChartsProps {
  readonly found: Metrics;
  readonly by: string;
  readonly onWindow: (since: Date, until: Date) => void;
}

function Charts({ found, by, onWindow }: ChartsProps): JSX.Element {
  const { step, buckets, groups } = found;
  const each = `per ${stepText(step)}`;
  const times = useMemo(() => buckets.map(({ time }) => time), [buckets]);
  const names = (groups ?? [])
    .slice(0, maxLines)
    .map(({ key }) => (key === null ? `no ${by}` : by === 'grant' ? grantName(key) : key));
  const charts = useMemo(() => chartsOf(found, names), [found, names.join('\n')]);
  return (
    <div class="plots" style={twoColumns}>
      {charts.map(({ title, unit, lines }) => (
        <Chart
          key={title}
          title={unit === '' ? `${title} ${each}` : title}
          unit={unit}
          series={lines}
          times={times}
          onWindow={onWindow}
        />
      ))}
    </div>
  );
}

type Read = (bucket: Bucket) => number | null;

const requests = ({ exchanges, refusals }: Bucket) => exchanges + refusals;
const refusals = (bucket: Bucket) => bucket.refusals;
const failures = (bucket: Bucket) => bucket.failures;
const median = (bucket: Bucket) => bucket.p50_ms;

/** Returns the lines of each chart: of the whole, or of each group and of all others. */
function chartsOf({ buckets, groups }: Metrics, names: readonly string[]) {
  const line = (name: string, read: Read) => ({ name, values: buckets.map(read) });
  if (groups === undefined)
    return [
      { title: 'Requests', unit: '', lines: [line('requests', requests)] },
      {
        title: 'Latency',
        unit: 'ms',
        lines: [line('median', median), line('99th percentile', (bucket) => bucket.p99_ms)],
      },
      {
        title: 'Refusals and failures',
        unit: '',
        lines: [line('refusals', refusals), line('failures', failures)],
      },
      { title: 'Token refreshes', unit: '', lines: [line('refreshes', (bucket) => bucket.refreshes)] },
    ];
  const shown = groups.slice(0, names.length).map((group) => group.buckets);
  const each = (read: Read) =>
    shown.map((list, index) => ({ name: names[index] ?? '', values: list.map(read) }));
  const sums = (read: (bucket: Bucket) => number) => {
    const rest = (bucket: Bucket, at: number) =>
      shown.reduce((left, list) => left - (list[at] === undefined ? 0 : read(list[at])), read(bucket));
    const others = { name: 'others', values: buckets.map(rest) };
    return others.values.some((value) => value > 0) ? [...each(read), others] : each(read);
  };
  return [
    { title: 'Requests', unit: '', lines: sums(requests) },
    { title: 'Median latency', unit: 'ms', lines: each(median) },
    { title: 'Refusals', unit: '', lines: sums(refusals) },
    { title: 'Failures', unit: '', lines: sums(failures) },
  ];
}
