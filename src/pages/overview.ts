import { call, type View } from './api.ts';
import { action, badge, fill, h, table } from './dom.ts';
import { plot } from './plot.ts';
import { type Remedy, wayOut } from './remedy.ts';

interface Status {
  readonly ok: boolean;
  readonly proxy: {
    readonly listen: { readonly host: string; readonly port: number };
    readonly workers?: readonly number[];
  };
  readonly store: { readonly path: string; readonly grants: number; readonly agents: number };
  readonly audit: { readonly file: string; readonly bytes: number };
  readonly grants: Readonly<Record<string, number | boolean>>;
  readonly domains: { readonly count: number; readonly unmatched: string };
  readonly needs: readonly {
    readonly about: string;
    readonly sentence: string;
    readonly hint: string | null;
    readonly remedies?: readonly Remedy[];
  }[];
}

interface Metrics {
  readonly buckets: readonly {
    readonly time: string;
    readonly exchanges: number;
    readonly refusals: number;
    readonly failures: number;
    readonly refreshes: number;
    readonly p50_ms: number | null;
    readonly p99_ms: number | null;
  }[];
}

const ranges: Readonly<Record<string, number>> = {
  'Last hour': 3_600_000,
  'Last day': 86_400_000,
  'Last week': 604_800_000,
};

/** The health of the proxy, its problems, and plots over time. */
export const overview: View = async (main, me) => {
  const status = await call<Status>('GET /v2/status');
  const plots = h('div', { class: 'plots' });
  const draw = async (span: number) => {
    const since = new Date(Date.now() - span).toISOString();
    const { buckets } = await call<Metrics>(`GET /v2/metrics?since=${since}`);
    const times = buckets.map(({ time }) => time);
    const of = (name: 'exchanges' | 'refusals' | 'failures' | 'refreshes' | 'p50_ms' | 'p99_ms') =>
      buckets.map((each) => each[name]);
    fill(
      plots,
      plot('Requests', '', [{ name: 'requests', values: of('exchanges') }], times),
      plot(
        'Latency',
        'ms',
        [
          { name: 'median', values: of('p50_ms') },
          { name: '99th percentile', values: of('p99_ms') },
        ],
        times,
      ),
      plot(
        'Refusals and failures',
        '',
        [
          { name: 'refusals', values: of('refusals') },
          { name: 'failures', values: of('failures') },
        ],
        times,
      ),
      plot('Token refreshes', '', [{ name: 'refreshes', values: of('refreshes') }], times),
    );
  };
  const { listen, workers = [] } = status.proxy;
  const states = Object.entries(status.grants).filter(
    (entry): entry is [string, number] => typeof entry[1] === 'number',
  );
  fill(
    main,
    h('h2', {}, 'Needs attention'),
    table(
      'Open problems',
      ['About', 'Problem', 'Way out'],
      status.needs.map(({ about, sentence, hint, remedies = [] }) => [
        about,
        sentence,
        wayOut(hint, remedies, me),
      ]),
      'Nothing: everything works.',
    ),
    h('h2', {}, 'Running'),
    h(
      'ul',
      { class: 'tiles' },
      tile(
        'Proxy',
        `${listen.host}:${listen.port}`,
        workers.length > 1 ? `${workers.length} workers` : 'one process',
      ),
      tile(
        'Grants',
        String(status.store.grants),
        states.map(([state, count]) => h('span', {}, badge(state), ` ${count} `)),
      ),
      tile('Agents', String(status.store.agents), ''),
      tile('Domains', String(status.domains.count), `others: ${status.domains.unmatched}`),
      tile('Audit log', `${(status.audit.bytes / 1e6).toFixed(1)} MB`, ''),
    ),
    me.scopes.includes('audit:read') && [
      h('h2', {}, 'Over time'),
      h('p', {}, ...Object.entries(ranges).map(([label, span]) => action(label, () => draw(span), 'quiet'))),
      plots,
    ],
  );
  if (me.scopes.includes('audit:read')) await draw(3_600_000);
};

function tile(title: string, value: string, more: Parameters<typeof h>[2]): HTMLElement {
  return h('li', {}, h('span', {}, title), h('b', {}, value), h('small', {}, more));
}
