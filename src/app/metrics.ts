import type { Metrics } from '../api/parts.ts';
import { readSinkState } from '../audit/export/sink.ts';
import { logBytes } from '../audit/log-files.ts';
import { bytesBehind } from '../audit/position.ts';
import type { Config } from '../config/config.ts';
import type { SidekeyError } from '../lib/errors.ts';
import { type Figure, gauge, type ProcessFigures } from '../proxy/telemetry/figures.ts';
import type { Tracer } from '../proxy/telemetry/traces.ts';
import type { UpstreamClient } from '../proxy/upstream/client.ts';
import type { Endings } from '../store/store.ts';
import type { State } from './state.ts';

/** Figures that are read from the state for each metrics request, so they are right after a restart. */

/** Spans in which ends of tokens and leases are counted, in milliseconds. */
const spans = [
  ['5m', 300_000],
  ['1h', 3_600_000],
  ['1d', 86_400_000],
  ['7d', 604_800_000],
] as const;

/** Parts of the metrics. Functions return current values. */
interface MetricsParts extends Pick<State, 'store'> {
  readonly figures: Pick<ProcessFigures, 'read'>;
  /** Null: nothing is traced. */
  readonly tracer: () => Pick<Tracer, 'read'> | null;
  readonly upstream: () => UpstreamClient;
  readonly config: () => Config;
  /** Reports whether the last edit of the config file was not valid. */
  readonly isConfigRejected: () => boolean;
  /** Resolves with the reason why requests cannot be served; null: they can. */
  readonly readiness: () => Promise<SidekeyError | null>;
  /** Reads the figures of each worker; absent: there are none. */
  readonly workers: (() => Promise<readonly (readonly Figure[])[]>) | undefined;
  readonly now: () => number;
}

/** Returns the functions that read the figures of this process, and the metrics of the proxy. */
export function createMetrics(parts: MetricsParts): {
  readonly own: () => Promise<readonly Figure[]>;
  readonly read: () => Promise<Metrics>;
} {
  async function own(): Promise<readonly Figure[]> {
    const { readRuntime } = await import('../proxy/telemetry/exposition.ts');
    return [
      ...parts.figures.read(),
      ...(parts.tracer()?.read() ?? []),
      ...connectionFigures(parts.upstream()),
      ...(await readRuntime()),
    ];
  }
  return {
    own,
    async read() {
      const { openMetrics } = await import('../proxy/telemetry/exposition.ts');
      const shared = stateFigures(parts, parts.config()).catch(() => []);
      const isReady = (await parts.readiness()) === null;
      const health = [
        gauge('sidekey_ready', '1: requests can be served.', [{ labels: {}, value: isReady ? 1 : 0 }]),
        gauge('sidekey_config_invalid', '1: the config file was edited, and the edit is not valid.', [
          { labels: {}, value: parts.isConfigRejected() ? 1 : 0 },
        ]),
      ];
      const workers = (await parts.workers?.()) ?? [];
      return openMetrics([[...health, ...(await shared)], await own(), ...workers]);
    },
  };
}

/** Returns the figures of one process: its connections to upstreams. */
function connectionFigures({ connections, streams }: UpstreamClient): Figure[] {
  const kinds = [
    ['http1', connections.usage()],
    ['http2', streams.usage()],
  ] as const;
  return [
    gauge(
      'sidekey_upstream_connections',
      'Connections to upstreams, those being made included.',
      kinds.flatMap(([protocol, { open, idle }]) => [
        { labels: { protocol, state: 'busy' }, value: Math.max(0, open - idle) },
        { labels: { protocol, state: 'idle' }, value: idle },
      ]),
    ),
    gauge(
      'sidekey_upstream_waiting',
      'Requests that wait for a connection to their upstream.',
      kinds.map(([protocol, { waiting }]) => ({ labels: { protocol }, value: waiting })),
    ),
  ];
}

/** Returns the figures that all processes of a proxy share. @throws SidekeyError `store_unavailable` */
async function stateFigures(
  { store, now }: Pick<State, 'store'> & { readonly now: () => number },
  { audit }: Pick<Config, 'audit'>,
): Promise<Figure[]> {
  const at = now();
  const lengths = spans.map(([, ms]) => ms);
  const [states, tokens, leases, waiting] = await Promise.all([
    store.grantChecks.count(at),
    store.grantChecks.endings(at, lengths),
    store.leases.endings(at, lengths),
    store.approvals.countWaiting(at),
  ]);
  return [
    gauge(
      'sidekey_grants',
      'Grants by state.',
      (['active', 'expired', 'revoked', 'reauth_required'] as const).map((state) => ({
        labels: { state },
        value: states[state],
      })),
    ),
    ...ends('token', tokens, at),
    ...ends('lease', leases, at),
    gauge('sidekey_leases', 'Leases that have not ended.', [{ labels: {}, value: leases.total }]),
    gauge('sidekey_approvals_waiting', 'Requests that wait for a person.', [{ labels: {}, value: waiting }]),
    gauge('sidekey_audit_bytes', 'Bytes of the audit log, rotated files included.', [
      { labels: {}, value: logBytes(audit.file) },
    ]),
    gauge(
      'sidekey_audit_sink_lag_bytes',
      'Bytes of the audit log that a sink has not delivered yet; -1: its state cannot be read.',
      audit.sinks.map(({ name }) => ({ labels: { sink: name }, value: lagOf(audit.file, name) })),
    ),
  ];
}

function lagOf(file: string, sink: string): number {
  const found = readSinkState(file, sink);
  if (found === 'broken') return -1;
  return found === null ? 0 : bytesBehind(file, found.position);
}

/** Returns the figures of things that end soon. */
function ends(kind: 'token' | 'lease', { counts, next }: Endings, at: number): Figure[] {
  const which = kind === 'token' ? 'tokens that cannot be refreshed' : 'leases';
  return [
    gauge(
      `sidekey_${kind}s_ending`,
      `Number of ${which} that end within a time; the longer times count the shorter ones too.`,
      spans.map(([within], index) => ({ labels: { within }, value: counts[index]! })),
    ),
    gauge(
      `sidekey_next_${kind}_end_seconds`,
      `Seconds until the next of the ${which} ends; absent: none will.`,
      next === null ? [] : [{ labels: {}, value: (next - at) / 1_000 }],
    ),
  ];
}
