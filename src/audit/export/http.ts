import { createHmac } from 'node:crypto';
import { readBounded } from '../../lib/body.ts';
import { readRetryAfter } from '../../lib/timers.ts';
import type { AuditLine } from '../../domain/event.ts';
import type { ReadLine } from '../position.ts';
import { severityOf, type Sink, SinkFailure, type SinkTransports } from './sink.ts';

interface HttpSinkOptions {
  readonly url: string;
  readonly transports: () => Pick<SinkTransports, 'fetch'>;
  readonly now: () => number;
}

interface WebhookOptions extends HttpSinkOptions {
  /** Reads the secret of the signature; undefined: requests are not signed. */
  readonly secret: (() => Promise<string>) | undefined;
}

/**
 * Creates a sink that POSTs each batch as it is in the file (`application/x-ndjson`), so that the receiver
 * can verify the lines. With a secret, sends `Sidekey-Signature: t=SECONDS,v1=HEX`: HMAC-SHA256 over
 * `SECONDS.BODY`. `Idempotency-Key` identifies a batch that is sent again.
 */
export function webhookSink({ url, secret, transports, now }: WebhookOptions): Sink {
  return {
    async deliver({ lines, id }, signal) {
      const body = lines.map(({ text }) => `${text}\n`).join('');
      const headers = {
        'content-type': 'application/x-ndjson',
        'idempotency-key': `"${id}"`,
        ...(secret === undefined ? {} : signature(body, await secret(), now())),
      };
      await post({ url, headers, body }, { fetch: transports().fetch, signal, now: now() });
    },
    close() {},
  };
}

/**
 * Returns the header that authenticates a body and its time.
 * @param now Milliseconds since the epoch.
 */
export function signature(body: string, secret: string, now: number): { 'sidekey-signature': string } {
  const seconds = Math.floor(now / 1_000);
  const mac = createHmac('sha256', secret).update(`${seconds}.${body}`).digest('hex');
  return { 'sidekey-signature': `t=${seconds},v1=${mac}` };
}

interface OtlpOptions extends HttpSinkOptions {
  /** Reads header fields for the collector, such as an API key. */
  readonly headers: () => Promise<Readonly<Record<string, string>>>;
  /** Receives the number of records that the collector rejected permanently. */
  readonly rejected: (count: number) => void;
}

/**
 * Creates a sink for OpenTelemetry collectors: OTLP/HTTP logs in JSON
 * (opentelemetry.io/docs/specs/otlp/#otlphttp). The body of a record is the line as it is in the file.
 * Attributes have names of the semantic conventions; `sidekey.*` if there is none.
 */
export function otlpSink({ url, headers, transports, now, rejected }: OtlpOptions): Sink {
  return {
    async deliver({ lines }, signal) {
      const body = JSON.stringify(exportRequest(lines, now()));
      const all = { 'content-type': 'application/json', ...(await headers()) };
      const answer = await post(
        { url, headers: all, body },
        { fetch: transports().fetch, signal, now: now() },
      );
      const count = rejectedIn(answer, 'rejectedLogRecords');
      if (count > 0) rejected(count);
    },
    close() {},
  };
}

/** Severity numbers of the log data model. */
const severities = { info: [9, 'INFO'], warning: [13, 'WARN'], error: [17, 'ERROR'] } as const;

/** Returns an `ExportLogsServiceRequest`. */
function exportRequest(lines: readonly ReadLine[], now: number): object {
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
    attributes: attributeNames.flatMap(([field, name]) => {
      const value = line[field];
      return value === undefined ? [] : [attribute(name, value)];
    }),
  };
}

const attributeNames = [
  ['event', 'sidekey.event'],
  ['seq', 'sidekey.seq'],
  ['exchange', 'sidekey.exchange'],
  ['agent', 'sidekey.agent'],
  ['lease', 'sidekey.lease'],
  ['subject', 'sidekey.subject'],
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
  ['leaks', 'sidekey.leaks'],
  ['foreign', 'sidekey.foreign'],
] as const satisfies readonly (readonly [keyof AuditLine, string])[];

/** Returns an attribute. Protocol buffers write a 64-bit integer as a JSON string. */
export function attribute(key: string, value: string | number): object {
  if (typeof value === 'string') return { key, value: { stringValue: value } };
  return { key, value: Number.isInteger(value) ? { intValue: String(value) } : { doubleValue: value } };
}

/** Returns the time in nanoseconds, exact to the microsecond, as OTLP requires. */
export function nanoseconds(ms: number): string {
  return String(BigInt(Math.round((Number.isNaN(ms) ? 0 : ms) * 1_000)) * 1_000n);
}

/** Returns the number of records that a response rejects in `partialSuccess`; 0 if none. */
export function rejectedIn(answer: string, member: 'rejectedLogRecords' | 'rejectedSpans'): number {
  try {
    const { partialSuccess } = JSON.parse(answer) as {
      partialSuccess?: Partial<Record<typeof member, string | number>>;
    };
    const count = Number(partialSuccess?.[member] ?? 0);
    return Number.isFinite(count) ? count : 0;
  } catch {
    return 0;
  }
}

/** Maximum bytes of a response that are read. */
const maxAnswerBytes = 65_536;

export interface Post {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/**
 * Sends a POST and returns the body of a 2xx response.
 * @param now Milliseconds since the epoch, for a `Retry-After` that is a date.
 * @throws SinkFailure for any other response, or if there is none
 */
export async function post(
  { url, headers, body }: Post,
  {
    fetch,
    signal,
    now,
  }: { readonly fetch: typeof globalThis.fetch; readonly signal: AbortSignal; readonly now: number },
): Promise<string> {
  const { host } = new URL(url);
  let response: Response;
  let text: string;
  try {
    response = await fetch(url, { method: 'POST', headers, body, signal });
    text = (await readBounded(response.body, maxAnswerBytes))?.toString('utf8') ?? '';
  } catch (cause) {
    throw new SinkFailure(`${host} gave no answer (${reasonOf(cause)})`, { cause });
  }
  if (response.ok) return text;
  throw new SinkFailure(`${host} answered ${response.status}`, {
    retryAfterMs: readRetryAfter(response.headers.get('retry-after'), now) || undefined,
    tooLarge: response.status === 413,
  });
}

/** Returns the code or name of an error or its cause; never a message, which may contain secrets. */
export function reasonOf(error: unknown): string {
  for (let at = error; at instanceof Error; at = at.cause) {
    if ('code' in at && typeof at.code === 'string') return at.code;
  }
  return error instanceof Error ? error.name : 'unknown';
}
