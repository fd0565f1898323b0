import type { AuditEvent } from '../../domain/event.ts';

/** Figures of one process, counted on the request path and turned into metrics when they are read. */

/** A metric as `Registry.aggregate` of the Prometheus client reads it; it is also sent between processes. */
export interface Figure {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  /** Name of the function that combines the values of several processes. */
  readonly aggregator: string;
  readonly values: readonly FigureValue[];
}

interface FigureValue {
  readonly labels: Readonly<Record<string, string | number>>;
  readonly value: number;
  /** Name of the series, where it is not that of the metric. */
  readonly metricName?: string;
}

/** Returns a metric of a current value. */
export function gauge(name: string, help: string, values: readonly FigureValue[]): Figure {
  return { name, help, type: 'gauge', aggregator: 'sum', values };
}

/** Returns a metric that only rises. */
export function counter(name: string, help: string, values: readonly FigureValue[]): Figure {
  return { name, help, type: 'counter', aggregator: 'sum', values };
}

/** Returns the counters and histograms of two processes together, without the gauges of either. */
export function addCounts(some: readonly Figure[], more: readonly Figure[]): readonly Figure[] {
  const sums = new Map<string, { readonly figure: Figure; readonly values: Map<string, FigureValue> }>();
  for (const figure of [...some, ...more]) {
    if (figure.type === 'gauge') continue;
    const sum = sums.get(figure.name) ?? { figure, values: new Map<string, FigureValue>() };
    sums.set(figure.name, sum);
    for (const each of figure.values) {
      const key = JSON.stringify([each.metricName, each.labels]);
      sum.values.set(key, { ...each, value: each.value + (sum.values.get(key)?.value ?? 0) });
    }
  }
  return Array.from(sums.values(), ({ figure, values }) => ({ ...figure, values: [...values.values()] }));
}

/** Upper bounds of the latency buckets in milliseconds. */
const bounds = [
  0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000,
] as const;

/** Counts of one duration: one per bucket, then those above all bounds, then the sum in milliseconds. */
class Durations {
  readonly #counts = new Float64Array(bounds.length + 2);

  add(ms: number): void {
    let at = 0;
    while (at < bounds.length && ms > bounds[at]!) at += 1;
    this.#counts[at]! += 1;
    this.#counts[bounds.length + 1]! += ms;
  }

  values(name: string, labels: FigureValue['labels']): FigureValue[] {
    let count = 0;
    const buckets = [...bounds.map((ms) => ms / 1_000), '+Inf'].map((le, at) => {
      count += this.#counts[at]!;
      return { metricName: `${name}_bucket`, labels: { ...labels, le }, value: count };
    });
    return [
      ...buckets,
      { metricName: `${name}_sum`, labels, value: this.#counts[bounds.length + 1]! / 1_000 },
      { metricName: `${name}_count`, labels, value: count },
    ];
  }
}

/** Outcomes of an exchange, as the audit log names them. */
const outcomes = ['ok', 'failed', 'aborted', 'deny'] as const;

class ProviderFigures {
  readonly byOutcome = new Float64Array(outcomes.length);
  readonly whole = new Durations();
  readonly upstream = new Durations();
  readonly own = new Durations();
}

/** Outcomes of a refresh, by the event that records it. */
export const refreshOutcomes = new Map<string, string>([
  ['grant.refreshed', 'ok'],
  ['grant.refresh_failed', 'failed'],
  ['grant.reauth_required', 'reauth_required'],
]);

/** Providers with figures of their own; further ones share those of `other`. */
const maxProviders = 64;

const durationHelp = {
  whole: 'Seconds from the head of a request to the end of its exchange.',
  upstream: 'Seconds from the moment a request was ready to be sent to the end of its exchange.',
  own: 'Seconds until a request was ready to be sent, without the wait for a person.',
};

/** Milliseconds of an exchange. */
interface ExchangeTimes {
  readonly wholeMs: number;
  /** Milliseconds until the request was ready to be sent; null: it was not sent. */
  readonly ownMs: number | null;
  readonly upstreamMs: number;
}

/** Counts exchanges, refusals and refreshes. Each call takes well under a microsecond, without a promise. */
export class ProcessFigures {
  readonly #providers = new Map<string, ProviderFigures>();
  readonly #refusals = new Map<string, number>();
  readonly #refreshes = new Map<string, Map<string, number>>();
  readonly #isConfigured: (provider: string) => boolean;

  /** @param isConfigured reports whether the config has a provider: only such names become labels */
  constructor(isConfigured: (provider: string) => boolean) {
    this.#isConfigured = isConfigured;
  }

  /**
   * Counts an exchange.
   * @param provider undefined: no credential was involved
   */
  exchanged(provider: string | undefined, outcome: string | undefined, times: ExchangeTimes): void {
    const figures = this.#of(provider);
    const at = outcomes.indexOf(outcome as (typeof outcomes)[number]);
    figures.byOutcome[Math.max(at, 0)]! += 1;
    if (times.ownMs === null) return;
    figures.whole.add(times.wholeMs);
    figures.own.add(times.ownMs);
    figures.upstream.add(times.upstreamMs);
  }

  /** Counts the events of the audit log that are refusals or refreshes. */
  recorded({ event, code = 'internal', provider }: AuditEvent): void {
    if (event === 'denied') this.#refusals.set(code, (this.#refusals.get(code) ?? 0) + 1);
    const outcome = refreshOutcomes.get(event);
    if (outcome === undefined) return;
    const name = this.#label(provider);
    const counts = this.#refreshes.get(name) ?? new Map<string, number>();
    this.#refreshes.set(name, counts.set(outcome, (counts.get(outcome) ?? 0) + 1));
  }

  read(): Figure[] {
    const providers = [...this.#providers];
    const durations = (['whole', 'upstream', 'own'] as const).map((part): Figure => {
      const name = part === 'whole' ? 'sidekey_exchange_seconds' : `sidekey_exchange_${part}_seconds`;
      const values = providers.flatMap(([provider, figures]) => figures[part].values(name, { provider }));
      return { name, help: durationHelp[part], type: 'histogram', aggregator: 'sum', values };
    });
    return [
      counter(
        'sidekey_exchanges',
        'Requests that were answered, forwarded or refused.',
        providers.flatMap(([provider, { byOutcome }]) =>
          outcomes.map((outcome, at) => ({ labels: { provider, outcome }, value: byOutcome[at]! })),
        ),
      ),
      ...durations,
      counter(
        'sidekey_refusals',
        'Requests and connections that were refused, by error code.',
        Array.from(this.#refusals, ([code, value]) => ({ labels: { code }, value })),
      ),
      counter(
        'sidekey_refreshes',
        'Refreshes of tokens by this proxy.',
        [...this.#refreshes].flatMap(([provider, counts]) =>
          Array.from(counts, ([outcome, value]) => ({ labels: { provider, outcome }, value })),
        ),
      ),
    ];
  }

  #of(provider: string | undefined): ProviderFigures {
    return this.#providers.get(provider ?? 'none') ?? this.#first(this.#label(provider));
  }

  #first(label: string): ProviderFigures {
    let figures = this.#providers.get(label);
    if (figures === undefined) this.#providers.set(label, (figures = new ProviderFigures()));
    return figures;
  }

  #label(provider: string | undefined): string {
    if (provider === undefined) return 'none';
    if (this.#providers.has(provider)) return provider;
    return this.#providers.size < maxProviders && this.#isConfigured(provider) ? provider : 'other';
  }
}
