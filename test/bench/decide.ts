/**
 * Cost of a decision in nanoseconds, with 1, 100 and 10,000 domains, each with the rules of a policy. The
 * cost must not grow with the map. A part of `npm run bench`; alone: `npm run bench -- --section decide`.
 */
import { createDisplay, table } from '../../src/cli/display.ts';
import { parseConfig } from '../../src/config/load.ts';
import { decideRequest, type Policy } from '../../src/proxy/policy/decide.ts';
import { createDomainMap } from '../../src/proxy/policy/domain-map.ts';
import type { RequestFacts } from '../../src/proxy/policy/request.ts';

const sizes = [1, 100, 10_000] as const;

const rules = `
  usual:
    - { methods: [DELETE], outcome: deny }
    - { paths: [/admin/**, /repos/*/settings/**], outcome: deny }
    - { clients: [127.0.0.0/8], times: [{ from: 06:00, to: 22:00, zone: Europe/Berlin }], methods: [GET], paths: [/repos/**] }
    - { methods: [GET, POST], paths: [/repos/*/*/issues/**, /user], limits: [{ rate: 60/m, per: agent }] }`;

async function policyOf(size: number): Promise<{ policy: Policy; loadMs: number }> {
  const domains = Array.from(
    { length: size },
    (_, index) => `  ${hostOf(index)}: { grant: g, rules: [{ policy: usual }] }`,
  );
  const text = `version: 1\npolicies:${rules}\ndomains:\n${domains.join('\n')}\n`;
  const start = performance.now();
  const config = await parseConfig(text, '/bench/sidekey.yaml', { env: {}, cwd: '/bench' });
  const policy: Policy = { domains: createDomainMap(config.domains), unmatched: 'deny' };
  return { policy, loadMs: performance.now() - start };
}

const hostOf = (index: number) => `api-${index}.example.com`;

/** Requests to hosts all over the map: the last rule that is asked allows them. */
function requestsFor(size: number): readonly RequestFacts[] {
  return Array.from({ length: 64 }, (_, index) => ({
    authority: { scheme: 'https', host: hostOf(Math.floor((index * size) / 64)), port: 443 },
    method: 'POST',
    methodFields: [],
    pathFields: [],
    methodParameters: [],
    upgrades: false,
    path: `/repos/acme/widgets/issues/${index}/comments?page=2`,
    client: '127.0.0.1',
    agent: 'ci-bot',
    user: null,
    labels: [],
    reason: null,
    contentType: 'application/json',
    contentLength: 512,
    now: 1_795_000_000_000 + index,
    body: null,
  }));
}

/** Nanoseconds a decision: the least of the rounds, which a busy machine disturbs least. */
function time(policy: Policy, requests: readonly RequestFacts[], rounds: number, turns: number): number {
  let best = Infinity;
  for (let round = 0; round < rounds; round += 1) {
    const start = performance.now();
    for (let turn = 0; turn < turns; turn += 1) {
      for (const request of requests) {
        if (decideRequest(policy, request).outcome !== 'inject') throw new Error('a request was not allowed');
      }
    }
    best = Math.min(best, ((performance.now() - start) * 1e6) / (turns * requests.length));
  }
  return best;
}

/** Measures and prints. */
export async function benchDecide({ smoke }: { readonly smoke: boolean }): Promise<void> {
  const [rounds, turns] = smoke ? [2, 20] : [15, 1_000];
  const measured: { readonly size: number; readonly loadMs: number; readonly ns: number }[] = [];
  // Reads the catalog, and warms up.
  time((await policyOf(1)).policy, requestsFor(1), 2, turns);
  for (const size of sizes) {
    const { policy, loadMs } = await policyOf(size);
    measured.push({ size, loadMs, ns: time(policy, requestsFor(size), rounds, turns) });
  }
  const [least] = measured;
  const rows = measured.map(({ size, loadMs, ns }) => [
    size.toLocaleString('en'),
    ns.toFixed(0),
    (ns / (least?.ns ?? ns)).toFixed(2),
    loadMs.toFixed(0),
  ]);
  console.log(
    'A decision behind four rules: the domain, the path as upstream reads it, and each rule in turn.',
  );
  console.log(
    table(createDisplay({}, {}), ['domains', 'ns/decision', '÷ one domain', 'ms to load the config'], rows),
  );
}
