/** Monitoring of a proxy from outside: health, readiness and metrics. */
import { readFile, rm, writeFile } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { freePort } from '../../support/free-port.ts';
import { readHead } from '../../support/probes.ts';
import { openClient, openTunnel } from '../../support/raw-client.ts';
import { startService, type TestService } from '../../support/service.ts';
import { ask, startTwoWorkers } from '../../support/two-workers.ts';
import { startUpstream } from '../../support/upstream.ts';

/** Starts a service with a grant for an upstream, and sends requests to it. */
async function served(requests: number, config: Readonly<Record<string, object>> = {}): Promise<TestService> {
  const upstream = await startUpstream((_request, response) => response.end('ok'));
  const service = await startService({ domains: { [upstream.authority]: { grant: 'acme' } }, config });
  await service.sidekey.grant([upstream.authority]);
  const client = await openTunnel(service.sidekey, upstream.authority);
  for (let i = 0; i < requests; i += 1) await ask(client, upstream);
  return service;
}

/** Reads the samples of a scrape: series → value. */
function samples(text: string): Map<string, number> {
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.split(' ').at(-1))]));
}

describe('GET /metrics', () => {
  test('counts exchanges by provider and outcome, with their latency', async () => {
    const { call } = await served(3);
    const { body, headers } = await call('GET /metrics');
    expect(headers.get('content-type')).toBe('application/openmetrics-text; version=1.0.0; charset=utf-8');
    expect(body).toMatch(/# EOF\n$/);
    const found = samples(body);

    expect(found.get('sidekey_exchanges_total{provider="acme",outcome="ok"}')).toBe(3);
    for (const part of ['', '_upstream', '_own'])
      expect(found.get(`sidekey_exchange${part}_seconds_count{provider="acme"}`)).toBe(3);
    expect(found.get('sidekey_grants{state="active"}')).toBe(1);
    expect(found.get('sidekey_upstream_connections{protocol="http1",state="idle"}')).toBe(1);
    expect(found.get('sidekey_ready')).toBe(1);
    expect(found.get('sidekey_audit_bytes')).toBeGreaterThan(100);
    expect(found.get('process_resident_memory_bytes')).toBeGreaterThan(1_000_000);
    expect(body).toContain('nodejs_eventloop_lag_p99_seconds');
  });

  test('has as many series after requests to 300 hosts as after a request to one host', async () => {
    const { call, sidekey } = await served(1);
    const refuse = async (name: string) => {
      const client = await openClient(sidekey);
      client.send(`GET http://${name}.example.com/${name} HTTP/1.1\r\nHost: ${name}.example.com\r\n\r\n`);
      await client.response();
    };
    const series = async () => {
      const { body } = await call('GET /metrics');
      return [...samples(body).keys()].filter((name) => name.startsWith('sidekey_'));
    };
    await refuse('first');
    const before = await series();
    for (let i = 0; i < 300; i += 1) await refuse(`host-${i}`);
    expect(await series()).toEqual(before);
  });

  test('requires a key with the scope status:read', async () => {
    const { call, key } = await startService();
    expect((await call('GET /metrics', { key: null })).status).toBe(401);
    expect((await call('GET /metrics', { key: await key({ scopes: ['grants:read'] }) })).status).toBe(403);
    expect((await call('GET /metrics', { key: await key({ scopes: ['status:read'] }) })).status).toBe(200);
    const bearer = { authorization: `Bearer ${await key({ role: 'auditor' })}` };
    expect((await call('GET /metrics', { key: null, headers: bearer })).status).toBe(200);
  });

  test('with admin.metrics: open needs no key on this machine, but a key behind a reverse proxy or for another host', async () => {
    const { call, url } = await startService({
      config: { admin: { listen: '127.0.0.1:0', metrics: 'open' } },
    });
    expect((await call('GET /metrics', { key: null })).status).toBe(200);
    const passedOn = { 'x-forwarded-for': '192.0.2.7' };
    expect((await call('GET /metrics', { key: null, headers: passedOn })).status).toBe(401);
    const { port } = new URL(url);
    const rebound = await readHead({ port, path: '/metrics', headers: { host: `evil.test:${port}` } });
    expect(rebound.statusCode).toBe(401);
    const own = `127.0.0.1:${await freePort()}`;
    const published = await startService({
      config: { admin: { listen: own, metrics: 'open', url: `http://${own}` } },
    });
    expect((await published.call('GET /metrics', { key: null })).status).toBe(401);
  });

  test('sums the counts of all workers, and loses no count when a worker is killed', async () => {
    const { spread, pids, serving, pages } = await startTwoWorkers({
      config: { admin: { listen: '127.0.0.1:0', metrics: 'open' } },
    });
    const tunnels = await spread();
    const scrape = async () => {
      const answer = await fetch(`${pages}/metrics`);
      return samples(await answer.text());
    };
    const exchanges = 'sidekey_exchanges_total{provider="acme",outcome="ok"}';
    const before = (await scrape()).get(exchanges);
    expect(before).toBe(tunnels.length);
    const [first] = pids();
    process.kill(first!, 'SIGKILL');
    await serving((now) => now.length === 2 && !now.includes(first!));
    expect((await scrape()).get(exchanges)).toBe(before);
  });
});

describe('GET /readyz', () => {
  test('reports on both listeners that requests can be served', async () => {
    const { call, sidekey } = await startService();
    expect((await call('GET /readyz', { key: null })).body).toEqual({ status: 'ready' });
    expect((await call('GET /healthz', { key: null })).body).toEqual({ status: 'ok' });
    const answer = await readHead({ port: sidekey.proxy.address.port, path: '/readyz' });
    expect(answer.statusCode).toBe(200);
  });

  test('fails if the store belongs to another key, if the audit log cannot be written, and during a stop', async () => {
    const time = { now: Date.now() };
    const { call, sidekey } = await startService({ now: () => time.now });
    const { proxy } = sidekey;
    const refused = async () => {
      time.now += 1_000;
      const { status, headers, body } = await call('GET /readyz', { key: null });
      expect(headers.get('content-type')).toBe(
        status === 200 ? 'application/json' : 'application/problem+json',
      );
      return [status, body.detail];
    };
    await rm(proxy.state.audit.file);
    expect(await refused()).toEqual([503, 'The proxy cannot serve requests now: audit_unavailable.']);
    await writeFile(proxy.state.audit.file, '', { mode: 0o600 });
    expect(await refused()).toEqual([200, undefined]);
    await proxy.state.store.close();
    expect(await refused()).toEqual([503, 'The proxy cannot serve requests now: store_unavailable.']);
  });

  test('fails on both listeners while exchanges are drained', async () => {
    const begun = Promise.withResolvers<ServerResponse>();
    const upstream = await startUpstream((_request, response) => begun.resolve(response));
    const { call, sidekey } = await startService({ domains: { [upstream.authority]: { grant: 'acme' } } });
    await sidekey.grant([upstream.authority]);
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    const response = await begun.promise;
    const stopped = sidekey.proxy.close();
    expect((await call('GET /readyz', { key: null })).body).toMatchObject({ status: 503, code: 'not_ready' });
    response.end('ok');
    await client.response();
    await stopped;
  });
});

/** Names of metrics in an expression of PromQL: what is left of it without strings, labels and functions. */
const namesIn = (expression: string) =>
  expression
    .replaceAll(/\{[^}]*\}|\[[^\]]*\]|\bby\s*\([^)]*\)/g, ' ')
    .match(/\b(?:sidekey|process|nodejs)_\w+\b(?!\s*\()/g) ?? [];

describe('the dashboard and the alert rules', () => {
  test('use only metrics that a proxy serves', async () => {
    const { call, sidekey } = await served(1, {
      audit: { file: 'data/audit.jsonl', sinks: [{ type: 'webhook', url: 'http://127.0.0.1:9/' }] },
    });
    const client = await openClient(sidekey);
    client.send('GET http://unknown.example.com/ HTTP/1.1\r\nHost: unknown.example.com\r\n\r\n');
    await client.response();
    const { body } = await call('GET /metrics');
    const families = new Set([...body.matchAll(/^# TYPE (\w+) /gm)].map(([, name]) => name));
    const dashboard = JSON.parse(await readFile('deploy/grafana/sidekey.json', 'utf8')) as {
      panels: { targets: { expr: string }[] }[];
    };
    const rules = parse(await readFile('deploy/prometheus/sidekey.rules.yaml', 'utf8')) as {
      groups: { rules: { alert: string; expr: string }[] }[];
    };
    const expressions = [
      ...dashboard.panels.flatMap(({ targets }) => targets.map(({ expr }) => expr)),
      ...rules.groups.flatMap((group) => group.rules.map(({ expr }) => expr)),
    ];
    const names = expressions.flatMap(namesIn);
    expect(names.length).toBeGreaterThan(30);
    const missing = names.filter((name) => !families.has(name.replace(/_(?:total|bucket|sum|count)$/, '')));
    expect(missing.filter((name) => !families.has(name))).toEqual([]);
  });
});
