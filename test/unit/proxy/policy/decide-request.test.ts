import { expect, test } from 'vitest';
import { parseConfig } from '../../../../src/config/load.ts';
import { readBodyFacts } from '../../../../src/proxy/policy/body.ts';
import { decide, decideRequest, type Policy } from '../../../../src/proxy/policy/decide.ts';
import { createDomainMap } from '../../../../src/proxy/policy/domain-map.ts';
import { describeStep } from '../../../../src/proxy/policy/judge.ts';
import type { RuleStep } from '../../../../src/proxy/policy/rule.ts';
import { factsOf } from '../../../support/request-facts.ts';
import { authorityOf } from './policy-for-test.ts';

/** A policy from the `domains` and `policies` of a config file. */
async function policyFrom(text: string): Promise<Policy> {
  const config = await parseConfig(`version: 1\n${text}`, '/x/sidekey.yaml', { env: {}, cwd: '/x' });
  return { domains: createDomainMap(config.domains), unmatched: 'deny' };
}

const url = 'https://api.example.com/v1/users';
const withRules = (rules: string) => policyFrom(`domains:\n  api.example.com: { grant: acme, ${rules} }\n`);

test('a domain without rules allows every request, with the reason of its entry', async () => {
  const policy = await policyFrom('domains: { api.example.com: { grant: acme } }');
  expect(decideRequest(policy, factsOf(url))).toEqual({
    ...decide(policy, authorityOf('api.example.com')),
    ruleName: null,
    approvalKey: null,
    needsBody: false,
    limits: [],
    maxResponse: null,
    mode: 'enforce',
    reported: null,
  });
});

test('each step names its rule with the line, and the condition that failed', async () => {
  const policy = await policyFrom(`domains:
  api.example.com:
    grant: acme
    rules:
      - { methods: [POST, PUT] }
      - { name: repos, agents: [ci-*], paths: [/repos/**] }
      - name: timed
        times: [{ from: 09:00, to: 17:30, weekdays: [mon-fri], zone: Europe/Berlin }]
`);
  const steps: RuleStep[] = [];
  const decision = decideRequest(policy, factsOf(url), steps);
  expect(steps.map(describeStep)).toEqual([
    'domains["api.example.com"].rules[0] (sidekey.yaml:6): does not match, because of methods POST, PUT',
    'repos, domains["api.example.com"].rules[1] (sidekey.yaml:7): does not match, because of paths /repos/**',
    'timed, domains["api.example.com"].rules[2] (sidekey.yaml:8): does not match, because of times mon tue wed thu fri 09:00-17:30 Europe/Berlin',
    'domains["api.example.com"].rules (sidekey.yaml:5): deny',
  ]);
  expect(decision).toMatchObject({
    outcome: 'deny',
    code: 'rule_denied',
    reason: 'the request is matched by no rule',
    hint: 'add to domains["api.example.com"].rules (sidekey.yaml:5): - { methods: [GET], paths: [/v1/users] }',
  });
});

test('a rule of a policy has the same position in every domain that uses it', async () => {
  const policy = await policyFrom(`policies: { shut: [{ outcome: deny }] }
domains:
  a.example.com: { grant: acme, rules: [{ policy: shut }] }
  b.example.com: { grant: acme, rules: [{ methods: [PUT] }, { policy: shut }] }
`);
  for (const host of ['a', 'b']) {
    const { rule } = decideRequest(policy, factsOf(`https://${host}.example.com/`));
    expect(rule).toBe('policies.shut[0] (sidekey.yaml:2)');
  }
});

test.each([
  ['a query with a token', 'https://api.example.com/x?token=secret-in-query', '/x'],
  ['a star, which would allow more', 'https://api.example.com/x*', null],
  ['what YAML would read otherwise', 'https://api.example.com/x,y', '"/x,y"'],
])('the suggested rule matches only the refused request: %s', async (_, target, path) => {
  const policy = await withRules('rules: [{ methods: [PUT] }]');
  const decision = decideRequest(policy, factsOf(target));
  const line = path === null ? '- { methods: [GET] }' : `- { methods: [GET], paths: [${path}] }`;
  expect(decision).toHaveProperty(
    'hint',
    `add to domains["api.example.com"].rules (sidekey.yaml:3): ${line}`,
  );
  expect(JSON.stringify(decision)).not.toContain('secret-in-query');
});

test('a refusal contains a hint', async () => {
  const policy = await withRules('rules: [{ paths: [/v1/**] }]');
  expect(decideRequest(policy, factsOf('https://api.example.com/v1/..;/x'))).toMatchObject({
    outcome: 'deny',
    code: 'policy_violation',
    reason:
      'the request has a path that servers read in different ways: it has a ;, plain or encoded, within a segment',
    rule: 'domains["api.example.com"].rules (sidekey.yaml:3)',
  });
});

const long = (segments: number) => `https://api.example.com${'/a'.repeat(segments)}`;
const parameters = (count: number) => `https://api.example.com/?${'q=1&&'.repeat(count)}`;

test.each([
  ['a path of 257 segments', 'paths: [/**]', long(257), 'path', 'has more than 256 segments'],
  ['a path of 8 KiB', 'paths: [/**]', `${url}${'x'.repeat(8_192)}`, 'path', 'has more than 8192 characters'],
  [
    'a query of 257 parameters',
    'query: { q: ["*"] }',
    parameters(257),
    'query',
    'has more than 256 parameters',
  ],
])(
  'a request that is too long to be judged is refused with a separate message: %s',
  async (_, rule, target, part, problem) => {
    const policy = await withRules(`default: allow, rules: [{ ${rule}, outcome: tunnel }]`);
    expect(decideRequest(policy, factsOf(target))).toMatchObject({
      outcome: 'deny',
      code: 'policy_violation',
      reason: `the request has a ${part} that is too long to be judged: it ${problem}`,
      hint: `ask for less at a time; the rules of domains["api.example.com"].rules (sidekey.yaml:3) read the complete ${part}`,
    });
  },
);

test('a URL of the maximum length is judged, and length is ignored without rules', async () => {
  const looking = await withRules('rules: [{ paths: [/a/**] }, { query: { q: ["*"] } }]');
  expect(decideRequest(looking, factsOf(long(256))).outcome).toBe('inject');
  expect(decideRequest(looking, factsOf(parameters(256))).outcome).toBe('inject');
  const blind = await withRules('rules: [{ methods: [GET] }]');
  expect(decideRequest(blind, factsOf(long(10_000))).outcome).toBe('inject');
  expect(decideRequest(blind, factsOf(parameters(10_000))).outcome).toBe('inject');
});

test('limits and response size apply only from the matching rule', async () => {
  const policy = await withRules(
    `rules: [{ methods: [PUT] }, { limits: [{ rate: 60/m, per: agent, burst: 5 }, { requests_per_day: 9, bytes_per_day: 1kB }], max_response: 2kB }]`,
  );
  expect(decideRequest(policy, factsOf(url))).toMatchObject({
    outcome: 'inject',
    limits: [
      { kind: 'rate', per: 'agent', count: 60, perMs: 60_000, burst: 5 },
      { kind: 'budget', per: 'rule', requests: 9, bytes: 1_000 },
    ],
    maxResponse: 2_000,
  });
  expect(decideRequest(policy, factsOf(url, { method: 'PUT' }))).toMatchObject({
    limits: [],
    maxResponse: null,
  });
});

/** Names of the counters of the rule that matches a GET. */
const keysOf = async (rules: string, host = 'api.example.com') => {
  const policy = await policyFrom(`policies: { p: [{ methods: [GET], limits: [{ rate: 1/s }] }] }
domains: { ${host}: { grant: acme, rules: ${rules} }, other.example.com: { grant: acme, rules: [{ policy: p }] } }`);
  const decision = decideRequest(policy, factsOf(`https://${host}/`));
  if (decision.outcome === 'deny') throw new Error(decision.reason);
  return decision.limits.map(({ key }) => key);
};

test('a counter keeps its name when a rule is moved or renamed or its amount changes, and is never shared', async () => {
  const [key] = await keysOf('[{ methods: [GET], limits: [{ rate: 1/s }] }]');
  expect(await keysOf('[{ methods: [PUT] }, { name: n, methods: [GET], limits: [{ rate: 9/s }] }]')).toEqual([
    key,
  ]);
  expect(await keysOf('[{ policy: p }]')).toEqual([key]);
  expect(await keysOf('[{ policy: p }]', 'b.example.com')).not.toEqual([key]);
  expect(await keysOf('[{ paths: [/**], limits: [{ rate: 1/s }] }]')).not.toEqual([key]);
  expect(await keysOf('[{ outcome: approve, methods: [GET], limits: [{ rate: 1/s }] }]')).not.toEqual([key]);
  const several = await keysOf(
    '[{ limits: [{ rate: 1/s }, { rate: 9/m }, { rate: 9/m, per: agent }, { requests_per_day: 1 }] }]',
  );
  expect(new Set(several).size).toBe(4);
});

test.each([
  ['methods: [GET, POST]', 'methods: [POST, GET]', 'methods: [GET, PUT]'],
  ['paths: [/a/b, /*/c]', 'paths: [/*/c, /a/b]', 'paths: [/b/a, /*/c]'],
  ['users: [a, b], labels: [c]', 'labels: [c], users: [b, a]', 'users: [c], labels: [a, b]'],
  ['query: { a: [x, y], b: [z] }', 'query: { b: [z], a: [y, x] }', 'query: { a: [z], b: [x, y] }'],
  [
    'jsonrpc: { methods: [a, b], tools: [c, d] }',
    'jsonrpc: { tools: [d, c], methods: [b, a] }',
    'jsonrpc: { methods: [c, d], tools: [a, b] }',
  ],
  [
    'times: [{ weekdays: [mon, tue], zone: UTC }]',
    'times: [{ zone: UTC, weekdays: [tue, mon] }]',
    'times: [{ weekdays: [mon, wed], zone: UTC }]',
  ],
])('counters and approvals are kept when %s is reordered', async (...written) => {
  const keys = written.map(async (conditions) => {
    const { domains } = await withRules(`rules: [{ ${conditions} }]`);
    return domains.match(authorityOf('api.example.com'))?.rules?.rules[0]?.rule.key;
  });
  const [key, reordered, other] = await Promise.all(keys);
  expect(key).toMatch(/^[0-9a-f]{16}$/);
  expect(reordered).toBe(key);
  expect(other).not.toBe(key);
});

test('report mode allows every request, and reports the decision', async () => {
  const policy = await withRules(
    'mode: report, rules: [{ methods: [PUT], outcome: approve }, { methods: [GET], limits: [{ rate: 1/s }] }]',
  );
  const said = (method: string) => {
    const decision = decideRequest(policy, factsOf(url, { method }));
    if (decision.outcome !== 'inject') throw new Error(decision.reason);
    return decision;
  };
  expect(said('POST')).toMatchObject({
    grant: 'acme',
    mode: 'report',
    reported: { outcome: 'deny', code: 'rule_denied' },
  });
  expect(said('PUT')).toMatchObject({ mode: 'report', reported: { outcome: 'approve', code: null } });
  expect(said('GET')).toMatchObject({ mode: 'report', reported: null, limits: [{ count: 1 }] });
});

test('report mode does not send a credential over plain http', async () => {
  const policy = await withRules('mode: report, rules: [{ methods: [PUT] }]');
  expect(decideRequest(policy, factsOf('http://api.example.com/'))).toMatchObject({
    code: 'insecure_transport',
  });
});

const chunked = { method: 'POST', contentType: 'application/json', contentLength: null } as const;
const read = (value: unknown, complete = true) =>
  readBodyFacts(
    { contentType: 'application/json', contentEncoding: null, bytes: Buffer.from(JSON.stringify(value)) },
    complete,
  );

test('a body is required only if the result of a rule depends on it', async () => {
  const policy = await withRules(
    'rules: [{ paths: [/mcp], jsonrpc: { tools: [search] } }, { methods: [POST], paths: [/other] }]',
  );
  const needs = (path: string, facts: object) =>
    decideRequest(policy, factsOf(`https://api.example.com${path}`, facts)).needsBody;
  expect(needs('/mcp', chunked)).toBe(true);
  expect(needs('/mcp', { ...chunked, contentLength: 10 })).toBe(true);
  expect(needs('/mcp', { ...chunked, body: read({}) })).toBe(false);
  expect(needs('/mcp', { ...chunked, contentLength: 0 })).toBe(false);
  expect(needs('/other', chunked)).toBe(false);
  // The unreadable part is in the query, and a body does not change that.
  const graphql = await withRules('rules: [{ graphql: { types: [query] } }]');
  expect(decideRequest(graphql, factsOf('https://api.example.com/?query=%zz'))).toMatchObject({
    outcome: 'deny',
    needsBody: false,
  });
});

test('the decision before the body arrives equals that for an unreadable body', async () => {
  const unread = readBodyFacts({ contentType: null, contentEncoding: null, bytes: Buffer.from('x') }, true);
  for (const outcome of ['allow', 'deny', 'approve', 'tunnel']) {
    const policy = await withRules(
      `default: allow, rules: [{ outcome: ${outcome}, jsonrpc: { tools: [x] } }]`,
    );
    const before = decideRequest(policy, factsOf(url, chunked));
    const after = decideRequest(policy, factsOf(url, { ...chunked, body: unread }));
    expect(before.outcome).toBe(after.outcome);
    expect(before.outcome).toBe(outcome === 'allow' ? 'inject' : 'deny');
  }
});

test('conditions on agent, client and time compare plain values', async () => {
  const policy = await withRules('rules: [{ clients: [10.0.0.0/8], times: [{ zone: UTC }] }]');
  const outcome = (facts: object) => decideRequest(policy, factsOf(url, facts)).outcome;
  expect(outcome({ client: '10.1.1.1' })).toBe('inject');
  expect(outcome({ client: '::ffff:10.1.1.1' })).toBe('inject');
  expect(outcome({ client: 'nowhere' })).toBe('deny');
  expect(outcome({ client: '10.1.1.1', now: Number.NaN })).toBe('deny');
});

test('a body of unknown length does not satisfy a size condition', async () => {
  const small = await withRules('rules: [{ body_size: { max: 10 } }]');
  const large = await withRules('default: allow, rules: [{ body_size: { min: 10 }, outcome: deny }]');
  for (const policy of [small, large]) {
    expect(decideRequest(policy, factsOf(url, { contentLength: 5 })).outcome).toBe('inject');
    expect(decideRequest(policy, factsOf(url, { contentLength: 11 })).outcome).toBe('deny');
    expect(decideRequest(policy, factsOf(url, { contentLength: null })).outcome).toBe('deny');
  }
});
