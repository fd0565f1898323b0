import { randomBytes } from 'node:crypto';
import type { AuditEvent } from '../../domain/event.ts';
import { attribute, nanoseconds, post, rejectedIn } from '../../audit/export/http.ts';
import { errorPhrase } from '../../lib/errors.ts';
import type { Log } from '../../lib/log.ts';
import { type Timers, within } from '../../lib/timers.ts';
import { counter, refreshOutcomes } from './figures.ts';

/**
 * Traces of exchanges, sent to an OpenTelemetry collector: OTLP/HTTP in JSON. A trace of the caller is
 * continued (W3C Trace Context); the outgoing request is not changed.
 */

interface TracerParts {
  /** The traces endpoint of the collector. */
  readonly url: string;
  /** Share of the exchanges that are traced, from 0 to 1, if the caller has not decided. */
  readonly sample: number;
  /** True if spans have the paths of requests, without queries. */
  readonly paths: boolean;
  /** Reads header fields for the collector. */
  readonly headers: () => Promise<Readonly<Record<string, string>>>;
  /** Returns the guarded `fetch` that is currently in use. */
  readonly fetch: () => typeof fetch;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly timers: Timers;
  readonly log: Pick<Log, 'warn'>;
  /** Random number from 0 to 1. */
  readonly random: () => number;
}

export type Tracer = ReturnType<typeof createTracer>;

/** Maximum number of spans that wait to be sent; further ones are dropped. */
const maxQueued = 4_096;
const batchSpans = 512;
/** Milliseconds between batches that are not full. */
const sendEveryMs = 5_000;
const sendTimeoutMs = 10_000;
const closeTimeoutMs = 3_000;

/** Creates a tracer, which sends nothing before the first trace. */
export function createTracer(parts: TracerParts) {
  const { timers, log, random, sample, url } = parts;
  const waiting = new Set<ExchangeTrace>();
  let queue: Span[] = [];
  let sent = 0;
  let dropped = 0;
  let cancel: (() => void) | undefined;
  let sending: Promise<void> | undefined;
  let isFailing = false;

  function finished(spans: readonly Span[]): void {
    const room = Math.max(0, maxQueued - queue.length);
    queue.push(...spans.slice(0, room));
    dropped += Math.max(0, spans.length - room);
    if (queue.length >= batchSpans) flush();
    else cancel ??= timers.after(sendEveryMs, flush);
  }

  function flush(): void {
    cancel?.();
    cancel = undefined;
    if (sending !== undefined || queue.length === 0) return;
    const batch = queue.slice(0, batchSpans);
    queue = queue.slice(batchSpans);
    sending = deliver(batch).finally(() => {
      sending = undefined;
      if (queue.length >= batchSpans) flush();
      else if (queue.length > 0) cancel ??= timers.after(sendEveryMs, flush);
    });
  }

  async function sendAll(): Promise<void> {
    while (queue.length > 0 || sending !== undefined) {
      flush();
      await sending;
    }
  }

  /** Never rejects: spans that the collector does not accept are counted and dropped. */
  async function deliver(batch: readonly Span[]): Promise<void> {
    const late = new AbortController();
    const stop = timers.after(sendTimeoutMs, () => late.abort());
    try {
      const headers = { 'content-type': 'application/json', ...(await parts.headers()) };
      const body = JSON.stringify(exportRequest(batch));
      const options = { fetch: parts.fetch(), signal: late.signal, now: parts.now() };
      const rejected = rejectedIn(await post({ url, headers, body }, options), 'rejectedSpans');
      sent += batch.length - rejected;
      dropped += rejected;
      isFailing = false;
    } catch (error) {
      dropped += batch.length;
      if (!isFailing) log.warn({ problem: errorPhrase(error) }, 'traces could not be delivered');
      isFailing = true;
    } finally {
      stop();
    }
  }

  return {
    /**
     * Begins the trace of an exchange; null if it is not traced.
     *
     * @param traceparent values of the field (w3.org/TR/trace-context)
     */
    begin(values: readonly string[]): ExchangeTrace | null {
      const parent = values.length === 1 ? parentOf(values[0]!) : null;
      if (!(parent?.isSampled ?? random() < sample)) return null;
      return new ExchangeTrace(parent, parts.paths, waiting, finished);
    },
    /** Adds a refresh to the exchanges that wait for it. */
    recorded({ event, grant, duration_ms: ms = 0 }: AuditEvent): void {
      const outcome = refreshOutcomes.get(event);
      if (outcome === undefined) return;
      for (const trace of waiting) if (trace.grant === grant) trace.refreshed(ms, outcome);
    },
    /** Returns metrics of the tracer itself. */
    read: () => [
      counter('sidekey_spans_sent', 'Spans that the collector has taken.', [{ labels: {}, value: sent }]),
      counter(
        'sidekey_spans_dropped',
        'Spans that did not fit into the queue, or that the collector has not taken.',
        [{ labels: {}, value: dropped }],
      ),
    ],
    /** Sends the remaining spans, for some seconds at most. */
    async close(): Promise<void> {
      await within(timers, sendAll(), closeTimeoutMs);
      cancel?.();
    },
  };
}

interface Parent {
  readonly traceId: string;
  readonly spanId: string;
  readonly isSampled: boolean;
}

/** Parses a `traceparent`; null if invalid (Trace Context §3.2: new trace). Later versions may add parts. */
function parentOf(text: string): Parent | null {
  const [, version, traceId = '', spanId = '', flags = '', more] =
    /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/.exec(text) ?? [];
  if (version === undefined || version === 'ff' || (version === '00' && more !== undefined)) return null;
  if (/^0+$/.test(traceId) || /^0+$/.test(spanId)) return null;
  return { traceId, spanId, isSampled: (Number.parseInt(flags, 16) & 1) === 1 };
}

type Attributes = Readonly<Record<string, string | number | undefined>>;

/** `SpanKind` of OTLP. */
const kinds = { internal: 1, server: 2, client: 3 } as const;

interface Span {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentId: string | null;
  readonly name: string;
  readonly kind: keyof typeof kinds;
  /** Milliseconds since the epoch. */
  readonly begin: number;
  readonly end: number;
  readonly attributes: Attributes;
  readonly failed: boolean;
}

const methods = new Set(['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', 'PATCH']);

/** Milliseconds since the epoch, with fractions. */
function clock(): number {
  return performance.timeOrigin + performance.now();
}

/** The trace of one exchange: a span for it, and one for each part that takes time. */
export class ExchangeTrace {
  /** Id of the grant whose credential the exchange waits for; null if there is none. */
  grant: string | null = null;
  readonly #parent: Parent | null;
  readonly #traceId: string;
  readonly #spanId = randomBytes(8).toString('hex');
  readonly #hasPath: boolean;
  readonly #waiting: Set<ExchangeTrace>;
  readonly #finished: (spans: readonly Span[]) => void;
  readonly #begin = clock();
  readonly #spans: Span[] = [];
  #credential: { readonly spanId: string; readonly begin: number } | null = null;
  #sentAt: number | null = null;

  constructor(
    parent: Parent | null,
    hasPath: boolean,
    waiting: Set<ExchangeTrace>,
    finished: (spans: readonly Span[]) => void,
  ) {
    this.#parent = parent;
    this.#traceId = parent?.traceId ?? randomBytes(16).toString('hex');
    this.#hasPath = hasPath;
    this.#waiting = waiting;
    this.#finished = finished;
  }

  /** Records that the exchange waits for the credential of this grant. */
  waits(grant: string): void {
    this.grant = grant;
    this.#credential = { spanId: randomBytes(8).toString('hex'), begin: clock() };
    this.#waiting.add(this);
  }

  /** Records that the credential has arrived. */
  obtained(failed = false): void {
    this.#waiting.delete(this);
    if (this.#credential === null) return;
    const { spanId, begin } = this.#credential;
    this.#credential = null;
    this.#add({ spanId, parentId: this.#spanId, name: 'obtain credential', kind: 'internal', begin, failed });
  }

  /** Records the end of a refresh that took `ms` milliseconds. */
  refreshed(ms: number, outcome: string): void {
    const parentId = this.#credential?.spanId ?? this.#spanId;
    const attributes = { 'sidekey.outcome': outcome };
    const failed = outcome !== 'ok';
    this.#add({ parentId, name: 'refresh', kind: 'client', begin: clock() - ms, attributes, failed });
  }

  /** Records that the request is sent. */
  sent(): void {
    this.#sentAt = clock();
  }

  /** Records the end of the exchange, with its last audit event and the facts of its request. */
  end({ outcome, code, status }: AuditEvent, facts: AuditEvent): void {
    const failed = outcome !== 'ok';
    this.obtained(true);
    const method = methods.has(facts.method ?? '') ? facts.method! : '_OTHER';
    const shared = {
      'http.request.method': method,
      'http.response.status_code': status,
      'error.type': code,
      'server.address': facts.host,
      'server.port': facts.port,
    };
    if (this.#sentAt !== null) {
      const sent = { parentId: this.#spanId, begin: this.#sentAt, attributes: shared };
      this.#add({ ...sent, name: method, kind: 'client', failed });
    }
    const attributes = {
      ...shared,
      'url.scheme': facts.scheme,
      'url.path': this.#hasPath ? facts.path : undefined,
      'sidekey.exchange': facts.exchange,
      'sidekey.provider': facts.provider,
      'sidekey.outcome': outcome,
    };
    const whole = { spanId: this.#spanId, parentId: this.#parent?.spanId ?? null, begin: this.#begin };
    this.#add({ ...whole, name: 'sidekey exchange', kind: 'server', attributes, failed });
    this.#finished(this.#spans);
  }

  #add(span: Pick<Span, 'parentId' | 'name' | 'kind' | 'begin' | 'failed'> & Partial<Span>): void {
    const spanId = randomBytes(8).toString('hex');
    this.#spans.push({ spanId, traceId: this.#traceId, end: clock(), attributes: {}, ...span });
  }
}

/** Returns an `ExportTraceServiceRequest`. */
function exportRequest(spans: readonly Span[]): object {
  const resource = { attributes: [attribute('service.name', 'sidekey')] };
  return {
    resourceSpans: [
      { resource, scopeSpans: [{ scope: { name: 'sidekey.proxy' }, spans: spans.map(toOtlp) }] },
    ],
  };
}

function toOtlp({ traceId, spanId, parentId, name, kind, begin, end, attributes, failed }: Span): object {
  return {
    traceId,
    spanId,
    ...(parentId === null ? {} : { parentSpanId: parentId }),
    name,
    kind: kinds[kind],
    startTimeUnixNano: nanoseconds(begin),
    endTimeUnixNano: nanoseconds(end),
    attributes: Object.entries(attributes).flatMap(([key, value]) =>
      value === undefined ? [] : [attribute(key, value)],
    ),
    // STATUS_CODE_ERROR
    status: failed ? { code: 2 } : {},
  };
}
