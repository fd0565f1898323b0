/** Traces of exchanges, as an OpenTelemetry collector receives them. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { createTracer } from '../../../src/proxy/telemetry/traces.ts';
import { granted } from '../../support/granted.ts';
import { openTunnel } from '../../support/raw-client.ts';
import { requestBody } from '../../support/request-body.ts';

interface Span {
  readonly name: string;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly attributes: readonly { readonly key: string }[];
  readonly startTimeUnixNano: string;
  readonly endTimeUnixNano: string;
}

interface TraceRequest {
  readonly resourceSpans: readonly { readonly scopeSpans: readonly { readonly spans: readonly Span[] }[] }[];
}

/** Starts a collector on this machine. */
async function collector(status = 200): Promise<{ readonly url: string; readonly spans: Span[] }> {
  const spans: Span[] = [];
  const server = createServer((request, response) => {
    void requestBody(request).then((body) => {
      const { resourceSpans } = JSON.parse(body) as TraceRequest;
      spans.push(...resourceSpans.flatMap(({ scopeSpans }) => scopeSpans.flatMap((each) => each.spans)));
      response.writeHead(status).end('{}');
    });
  }).listen(0, '127.0.0.1');
  onTestFinished(() => void server.close());
  await new Promise((resolve) => server.once('listening', resolve));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/traces`, spans };
}

const [traceId, spanId] = ['4bf92f3577b34da6a3ce929d0e0e4736', '00f067aa0ba902b7'];

test('an exchange continues the trace of the caller, and the forwarded request is unchanged', async () => {
  const { url, spans } = await collector();
  const seen: unknown[] = [];
  const { upstream, sidekey } = await granted(
    (request, response) => {
      seen.push(request.headers['traceparent']);
      response.end('ok');
    },
    { config: { telemetry: { traces: { url, sample: 0 } } } },
  );
  const client = await openTunnel(sidekey, upstream.authority);
  const send = (fields: string) => {
    client.send(`GET /secret-path?secret-query HTTP/1.1\r\nHost: ${upstream.authority}\r\n${fields}\r\n`);
    return client.response();
  };
  const traceparent = `00-${traceId}-${spanId}-01`;
  await send(`traceparent: ${traceparent}\r\n`);
  await send('');
  await sidekey.proxy.close();
  expect(seen).toEqual([traceparent, undefined]);
  const whole = spans.find(({ name }) => name === 'sidekey exchange');
  expect(whole).toMatchObject({ traceId, parentSpanId: spanId });
  expect(new Set(spans.map((each) => each.traceId))).toEqual(new Set([traceId]));
  const parts = spans.filter(({ parentSpanId }) => parentSpanId === whole?.spanId);
  expect(parts.map(({ name }) => name)).toEqual(['obtain credential', 'GET']);
  for (const part of spans) expect(part.endTimeUnixNano >= part.startTimeUnixNano).toBe(true);
  expect(JSON.stringify(spans)).not.toContain('secret');
});

test('a span contains the path only if the config enables it, and never the query', async () => {
  const { url, spans } = await collector();
  const { upstream, sidekey } = await granted((_request, response) => response.end('ok'), {
    config: { telemetry: { traces: { url, sample: 1, paths: true } } },
  });
  const client = await openTunnel(sidekey, upstream.authority);
  client.send(`GET /path?secret HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
  await client.response();
  await sidekey.proxy.close();
  expect(JSON.stringify(spans)).toContain('"/path"');
  expect(JSON.stringify(spans)).not.toContain('secret');
});

function tracer(url: string, sample = 1) {
  return createTracer({
    url,
    sample,
    paths: false,
    headers: async () => ({}),
    fetch: () => fetch,
    now: Date.now,
    timers: { after: () => () => {}, epoch: Date.now } as never,
    log: { warn() {} },
    random: () => 0.5,
  });
}

test('an exchange that waits for a refresh has a span for the refresh', async () => {
  const { url, spans } = await collector();
  const traces = tracer(url);
  const trace = traces.begin([])!;
  trace.waits('grant-1');
  traces.recorded({ event: 'grant.refreshed', grant: 'grant-2', duration_ms: 5 });
  traces.recorded({ event: 'grant.refreshed', grant: 'grant-1', duration_ms: 20 });
  trace.obtained();
  trace.end({ event: 'outcome', outcome: 'ok' }, { event: 'outcome' });
  await traces.close();
  const [refresh, credential] = spans;
  expect(spans).toHaveLength(3);
  expect(refresh).toMatchObject({ name: 'refresh', parentSpanId: credential?.spanId });
});

test.each([
  ['unsampled', `00-${traceId}-${spanId}-00`, false],
  ['sampled', `00-${traceId}-${spanId}-01`, true],
  ['of zeros', `00-${'0'.repeat(32)}-${spanId}-00`, true],
  ['malformed', 'anything', true],
  ['of version ff', `ff-${traceId}-${spanId}-00`, true],
])('a traceparent that is %s is sampled as Trace Context requires', (_name, value, isTraced) => {
  expect(tracer('http://127.0.0.1:9/').begin([value]) !== null).toBe(isTraced);
});

test('spans that no collector accepts are dropped and counted, and the queue stays bounded', async () => {
  const { url } = await collector(503);
  const traces = tracer(url);
  for (let i = 0; i < 6_000; i += 1)
    traces.begin([])!.end({ event: 'outcome', outcome: 'ok' }, { event: 'outcome' });
  await traces.close();
  const values = Object.fromEntries(traces.read().map(({ name, values: [only] }) => [name, only?.value]));
  expect(values).toEqual({ sidekey_spans_sent: 0, sidekey_spans_dropped: 6_000 });
});
