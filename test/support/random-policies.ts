import { parseCidr } from '../../src/proxy/policy/authority.ts';
import { readBodyFacts } from '../../src/proxy/policy/body.ts';
import type { Policy } from '../../src/proxy/policy/decide.ts';
import { createDomainMap, type Domain } from '../../src/proxy/policy/domain-map.ts';
import { compileRule, compileRules } from '../../src/proxy/policy/judge.ts';
import { parsePathGlob, type PathGlob } from '../../src/proxy/policy/path.ts';
import type { RequestFacts } from '../../src/proxy/policy/request.ts';
import {
  type Conditions,
  type DomainRules,
  noConditions,
  type Parameters,
  type Rule,
} from '../../src/proxy/policy/rule.ts';
import { parseGlob } from '../../src/proxy/policy/text.ts';
import * as fc from './fast-check.ts';
import { patternOf } from '../unit/proxy/policy/policy-for-test.ts';

/** Generators of rules, policies and requests. */

const some = <T>(...items: readonly T[]) => fc.option(fc.subarray([...items], { minLength: 1 }));
const globsOf = (...texts: readonly string[]) => some(...texts.map(parseGlob));
const pathGlobs = ['/**', '/a/**', '/a/*', '/a/b', '/A/b', '/*/b', '/'].map(
  (text) => parsePathGlob(text) as PathGlob,
);
const blocks = ['10.0.0.0/8', '10.1.0.0/16', '127.0.0.1', 'fd00::/8'].map((text) => parseCidr(text)!);
const noTime = { from: 0, to: 1_440, weekdays: [0, 1, 2, 3, 4, 5, 6], zone: 'UTC' };

const parametersOf = (...names: readonly string[]): fc.Arbitrary<Parameters> =>
  fc
    .tuple(
      fc.constantFrom(...names),
      fc.oneof(
        fc.subarray(['1', '1*', '*'].map(parseGlob), { minLength: 1 }),
        fc.record({
          values: globsOf('1', '2'),
          min: fc.constantFrom(null, 1, 2),
          max: fc.constantFrom(null, 1, 2),
          optional: fc.boolean(),
        }),
      ),
    )
    .map((entry) => new Map([entry]));

/** Few values, so that rules and requests meet and overlap. */
const conditionsByName: { readonly [Name in keyof Conditions]: fc.Arbitrary<Conditions[Name]> } = {
  methods: some('GET', 'POST'),
  paths: some(...pathGlobs),
  query: fc.option(parametersOf('q')),
  contentTypes: globsOf('application/json', 'application/*'),
  bodySize: fc.option(fc.record({ min: fc.constantFrom(0, 5), max: fc.constantFrom(10, 50, null) })),
  times: some({ ...noTime, from: 540 }, { ...noTime, weekdays: [1, 2] }, noTime),
  clients: some(...blocks),
  agents: globsOf('ci-bot', 'ci-*', '*'),
  users: globsOf('alice', '*'),
  labels: globsOf('prod', 'p*'),
  graphql: fc.option(
    fc.record({ types: some('query' as const, 'mutation' as const), names: globsOf('A', '*') }),
  ),
  jsonrpc: fc.option(fc.record({ methods: globsOf('tools/*', 'ping'), tools: globsOf('x', '*') })),
  json: fc.option(parametersOf('$.a', '$.a[*]', '$.a.b')),
  form: fc.option(parametersOf('q', 'a')),
};
export const conditions: fc.Arbitrary<Conditions> = fc.record(conditionsByName);

/**
 * Most rules have few conditions: otherwise hardly one would match. Only those are generated, which takes a
 * quarter of the time.
 */
export const fewConditions: fc.Arbitrary<Conditions> = fc
  .subarray(Object.keys(noConditions) as (keyof Conditions)[], { maxLength: 2 })
  .chain(conditionsOf);

const arbitraries = new Map<string, fc.Arbitrary<Conditions>>();

/** Conditions of which these may be set. */
function conditionsOf(names: readonly (keyof Conditions)[]): fc.Arbitrary<Conditions> {
  const key = names.join();
  const known = arbitraries.get(key);
  if (known !== undefined) return known;
  const made = fc
    .record(Object.fromEntries(names.map((name) => [name, conditionsByName[name]])))
    .map((set): Conditions => ({ ...noConditions, ...set }));
  arbitraries.set(key, made);
  return made;
}

export const ruleOf = (
  conditions: Conditions,
  outcome: Rule['outcome'],
  maxResponse: number | null = null,
): Rule => ({
  name: null,
  origin: 'here',
  key: 'rule',
  outcome,
  conditions,
  requireReason: false,
  limits: [],
  maxResponse,
  upgrades: [],
});
export const outcome = fc.constantFrom(
  'allow' as const,
  'deny' as const,
  'approve' as const,
  'tunnel' as const,
);
export const rule = fc
  .tuple(fewConditions, outcome, fc.constantFrom(null, null, 9))
  .map(([conditions, outcome, most]) => ruleOf(conditions, outcome, outcome === 'deny' ? null : most));
export const rulesOf = (
  rules: readonly Rule[],
  initial: Rule['outcome'] = 'deny',
  mode: DomainRules['mode'] = 'enforce',
) =>
  compileRules({
    rules: rules.map(compileRule),
    default: initial,
    key: 'domain',
    defaultOrigin: 'here',
    mode,
    origin: 'here',
  });

export const bodies = [
  '{"query":"{a}"}',
  '{"query":"mutation A{a}"}',
  '[{"query":"{a}"},{"query":"mutation{b}"}]',
  '{"jsonrpc":"2.0","method":"ping"}',
  '{"jsonrpc":"2.0","method":"tools/call","params":{"name":"x"}}',
  '{"a":1}',
  '{"a":[1,2]}',
  '{"a":{"b":"1"}}',
  'nonsense',
  '',
  'a=1&a=2',
  'q=1',
].map((text) =>
  readBodyFacts(
    {
      contentType: text.includes('=') ? 'application/x-www-form-urlencoded' : 'application/json',
      contentEncoding: null,
      bytes: Buffer.from(text),
    },
    true,
  ),
);
export const facts: fc.Arbitrary<RequestFacts> = fc.record({
  authority: fc.record({
    scheme: fc.constantFrom('https' as const, 'http' as const),
    host: fc.constantFrom('api.example.com', 'a.api.example.com', 'b.api.example.com', 'other.example.com'),
    port: fc.constantFrom(443, 80, 8443),
  }),
  method: fc.constantFrom('GET', 'POST', 'get', 'PUT'),
  methodFields: fc.constantFrom([], [], ['the header X-HTTP-Method']),
  pathFields: fc.constantFrom([], [], ['the header X-Original-URL']),
  methodParameters: fc.constantFrom([], ['verb']),
  upgrades: fc.boolean(),
  path: fc.constantFrom(
    '/',
    '/a/b',
    '/A/B',
    '/a/b/',
    '/a//b',
    '/a/b?q=1',
    '/a/b?q=1&q=2',
    '/a?Q=1&q=1',
    '/a?q=%zz',
    '/a?query={a}',
  ),
  client: fc.constantFrom('10.1.2.3', '127.0.0.1', '::ffff:10.2.2.3', 'fd00::1', 'none'),
  agent: fc.constantFrom(null, 'ci-bot', 'bob'),
  user: fc.constantFrom(null, 'alice'),
  labels: fc.subarray(['prod', 'other']),
  reason: fc.constantFrom(null, 'because'),
  contentType: fc.constantFrom(null, 'application/json', 'text/plain, application/json'),
  contentLength: fc.constantFrom(null, 0, 7, 20),
  now: fc.constantFrom(0, 1_795_000_000_000, Number.NaN),
  body: fc.constantFrom(null, ...bodies),
});

const patterns = [
  'api.example.com',
  '*.api.example.com',
  'a.api.example.com',
  '*.example.com',
  'api.example.com:8443',
];
const entry = fc.record({
  grant: fc.constantFrom('one', 'two'),
  allowPlainHttp: fc.boolean(),
  rules: fc.option(
    fc.tuple(
      fc.array(rule, { maxLength: 4 }),
      outcome,
      fc.constantFrom('enforce' as const, 'report' as const),
    ),
  ),
});
export const policyOf = (domains: readonly Domain[]): Policy => ({
  domains: createDomainMap(domains),
  unmatched: 'deny',
});

/** One map with its rules, and without them. */
export const policies = fc
  .array(entry, { minLength: patterns.length, maxLength: patterns.length })
  .map((entries) => {
    const bare = entries.map(({ grant, allowPlainHttp }, index): Domain => ({
      pattern: patternOf(patterns[index] ?? ''),
      action: { kind: 'grant', grant, allowPlainHttp },
      origin: patterns[index] ?? '',
    }));
    const ruled = bare.map((domain, index): Domain => {
      const rules = entries[index]?.rules ?? null;
      return rules === null ? domain : { ...domain, rules: rulesOf(...rules) };
    });
    return { bare: policyOf(bare), ruled: policyOf(ruled) };
  });
