/**
 * A sink for OpenTelemetry collectors: OTLP/HTTP logs in JSON (opentelemetry.io/docs/specs/otlp/#otlphttp). The body of a
 * record is the line as it stands in the file; attributes have what is looked for, by the names of the semantic
 * conventions where there are some, else as `sidekey.*`.
 */
import type { AuditLine } from '../event.ts';
import { severityOf, type Sink, type SinkTransports } from './sink.ts';
import { post } from './webhook.ts';

/** Where to, and with what. */
interface OtlpOptions {
  /** The whole URL, such as `https://collector.example:4318/v1/logs`. */
  readonly url: string;
  /** Reads header fields for the collector, such as an API key. */
  readonly headers: () => Promise<Readonly<Record<string, string>>>;
  readonly transports: () => Pick<SinkTransports, 'fetch'>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Told how many records a collector took the batch without: sent again they would be rejected again. */
  readonly rejected: (count: number) => void;
}

/** A sink that exports each batch as one request. */
export function otlpSink({ url, headers, transports: transports, now, rejected }: OtlpOptions): Sink {
  return {
    async deliver({ lines }, signal) {
      const body = JSON.stringify(exportRequest(lines, now()));
      const all = { 'content-type': 'application/json', ...(await headers()) };
      const answer = await post(
        { url, headers: all, body },
        { fetch: transports().fetch, signal, now: now() },
      );
      const count = rejectedIn(answer);
      if (count > 0) rejected(count);
    },
    close() {},
  };
}

/** Severity numbers of the log data model. */
const severities = { info: [9, 'INFO'], warning: [13, 'WARN'], error: [17, 'ERROR'] } as const;

/** The `ExportLogsServiceRequest` of some lines. */
function exportRequest(
  lines: readonly { readonly line: AuditLine; readonly text: string }[],
  now: number,
): object {
  const byNode = Map.groupBy(lines, ({ line }) => line.node);
  return {
    resourceLogs: Array.from(byNode, ([node, ofNode]) => ({
      resource: {
        attributes: [
          attribute('service.name', 'sidekey'),
          attribute('service.instance.id', node),
          attribute('host.name', node.replace(/\/\d+$/, '')),
        ],
      },
      scopeLogs: [
        {
          scope: { name: 'sidekey.audit' },
          logRecords: ofNode.map(({ line, text }) => record(line, text, now)),
        },
      ],
    })),
  };
}

function record(line: AuditLine, text: string, now: number): object {
  const [severityNumber, severityText] = severities[severityOf(line)];
  return {
    timeUnixNano: nanoseconds(Date.parse(line.time)),
    observedTimeUnixNano: nanoseconds(now),
    severityNumber,
    severityText,
    eventName: `sidekey.${line.event}`,
    body: { stringValue: text },
    attributes: names.flatMap(([field, name]) => {
      const value = line[field];
      return value === undefined ? [] : [attribute(name, value)];
    }),
  };
}

const names = [
  ['event', 'sidekey.event'],
  ['seq', 'sidekey.seq'],
  ['exchange', 'sidekey.exchange'],
  ['agent', 'sidekey.agent'],
  ['lease', 'sidekey.lease'],
  ['approval', 'sidekey.approval'],
  ['user', 'enduser.id'],
  ['grant', 'sidekey.grant'],
  ['provider', 'sidekey.provider'],
  ['client', 'client.address'],
  ['by', 'user.name'],
  ['method', 'http.request.method'],
  ['scheme', 'url.scheme'],
  ['host', 'server.address'],
  ['port', 'server.port'],
  ['path', 'url.path'],
  ['outcome', 'sidekey.outcome'],
  ['code', 'error.type'],
  ['status', 'http.response.status_code'],
  ['bytes_in', 'http.request.body.size'],
  ['bytes_out', 'http.response.body.size'],
  ['duration_ms', 'sidekey.duration_ms'],
  ['echoes', 'sidekey.echoes'],
] as const satisfies readonly (readonly [keyof AuditLine, string])[];

/** A 64-bit integer is a text in JSON of protocol buffers. */
function attribute(key: string, value: string | number): object {
  if (typeof value === 'string') return { key, value: { stringValue: value } };
  return { key, value: Number.isInteger(value) ? { intValue: String(value) } : { doubleValue: value } };
}

function nanoseconds(ms: number): string {
  return String(BigInt(Math.trunc(Number.isNaN(ms) ? 0 : ms)) * 1_000_000n);
}

/** `partialSuccess.rejectedLogRecords` of an answer; 0 for one that says nothing. */
function rejectedIn(answer: string): number {
  try {
    const { partialSuccess } = JSON.parse(answer) as {
      partialSuccess?: { rejectedLogRecords?: string | number };
    };
    const count = Number(partialSuccess?.rejectedLogRecords ?? 0);
    return Number.isFinite(count) ? count : 0;
  } catch {
    return 0;
  }
}
