import { expect, test } from 'vitest';
import { type Decision, decideRequest, type Policy } from '../../src/proxy/policy/decide.ts';
import { type Domain, leakSearchFor } from '../../src/proxy/policy/domain-map.ts';
import { compileRule } from '../../src/proxy/policy/judge.ts';
import { methodOverride } from '../../src/proxy/policy/method-override.ts';
import { isUnread, readPath, readQuery } from '../../src/proxy/policy/path.ts';
import { ReadRequest, type RequestFacts } from '../../src/proxy/policy/request.ts';
import {
  bodyConditions,
  type Rule,
  type RuleLimit,
  type RuleOutcome,
  type RuleStep,
} from '../../src/proxy/policy/rule.ts';
import { fieldNameAsRead, FieldNames } from '../../src/proxy/policy/text.ts';
import * as fc from '../support/fast-check.ts';
import { facts, outcome, policyOf, rule as plainRule, rulesOf } from '../support/random-policies.ts';
import { patternOf } from '../unit/proxy/policy/policy-for-test.ts';

/** Compiled decisions, and fast ways to read a request, give the results of the plain ways. */

const limit: RuleLimit = { kind: 'rate', per: 'agent', count: 1, perMs: 1_000, burst: 1, key: 'limit' };
const rule = fc
  .tuple(plainRule, fc.constantFrom(null, 'named'), fc.boolean(), fc.boolean(), fc.nat(9))
  .map(([it, name, requireReason, isLimited, line]): Rule => ({
    ...it,
    name,
    requireReason: requireReason && it.outcome !== 'deny',
    limits: isLimited && it.outcome !== 'deny' ? [limit] : [],
    origin: `line ${line}`,
    key: `key ${line}`,
  }));
const ruleSet = fc.record({
  rules: fc.array(rule, { maxLength: 4 }),
  initial: outcome,
  mode: fc.constantFrom('enforce' as const, 'report' as const),
});
type RuleSet = typeof ruleSet extends fc.Arbitrary<infer T> ? T : never;
/** The rules of a domain, and additional ones. */
const entry = fc.record({
  own: fc.option(ruleSet, { freq: 5 }),
  others: fc.oneof(
    { arbitrary: fc.constant<RuleSet[]>([]), weight: 3 },
    { arbitrary: fc.array(ruleSet, { maxLength: 2 }), weight: 1 },
  ),
  allowPlainHttp: fc.boolean(),
});
type Entry = typeof entry extends fc.Arbitrary<infer T> ? T : never;

function policyFrom({ own, others, allowPlainHttp }: Entry): Policy {
  const compiled = others.map(({ rules, initial }) => rulesOf(rules, initial));
  const domain: Domain = {
    pattern: patternOf('*.example.com'),
    action: { kind: 'grant', grant: 'one', allowPlainHttp },
    origin: 'here',
    ...(own === null ? {} : { rules: rulesOf(own.rules, own.initial, own.mode) }),
    ...(compiled.length === 0 ? {} : { additionalRules: compiled }),
  };
  return policyOf([domain]);
}

test('a decision from reused rules equals one from newly compiled rules, and never changes', () => {
  let frozen = 0;
  fc.assert(
    fc.property(entry, fc.array(facts, { minLength: 1, maxLength: 12 }), (entry, requests) => {
      const policy = policyFrom(entry);
      const made: { readonly decision: Decision; readonly clone: Decision }[] = [];
      for (const request of [...requests, ...requests.toReversed()]) {
        const [steps, freshSteps]: [RuleStep[], RuleStep[]] = [[], []];
        const decision = decideRequest(policy, request);
        expect(decision).toEqual(decideRequest(policyFrom(entry), request, freshSteps));
        const traced = decideRequest(policy, request, steps);
        expect(traced).toEqual(decision);
        expect(steps).toEqual(freshSteps);
        if (Object.isFrozen(decision)) {
          expect(traced).toBe(decision);
          frozen += 1;
        }
        made.push({ decision, clone: structuredClone(decision) });
      }
      for (const { decision, clone } of made) expect(decision).toEqual(clone);
    }),
    { numRuns: 1_000 },
  );
  expect(frozen).toBeGreaterThan(1_000);
});

/** Evaluates one set of rules plainly: the outcome, and the rule that decides. */
function plainly({ rules, initial }: RuleSet, facts: RequestFacts) {
  const request = new ReadRequest(facts);
  let needsBody = false;
  for (const rule of rules) {
    const { requireReason, limits, maxResponse, origin } = rule;
    const verdicts = compileRule(rule).checks.map(({ condition, test }) => ({
      condition,
      verdict: test(request),
    }));
    if (verdicts.some(({ verdict }) => verdict === 'no')) continue;
    const unclear = verdicts.filter(({ verdict }) => verdict === 'unclear');
    const isBodyUnread = facts.body === null && facts.contentLength !== 0;
    needsBody ||=
      isBodyUnread && unclear.some(({ condition }) => bodyConditions.some((name) => name === condition));
    const isBare = rule.outcome === 'allow' && !requireReason && limits.length === 0 && maxResponse === null;
    if (unclear.length > 0 && isBare) continue;
    const isRefused = unclear.length > 0 || (requireReason && facts.reason === null);
    const outcome: RuleOutcome = isRefused ? 'deny' : rule.outcome;
    return { outcome, rule: origin, needsBody, limits: outcome === 'deny' ? [] : limits };
  }
  return { outcome: initial, rule: 'here', needsBody, limits: [] };
}

test('a decision follows the first rule that holds, or that may hold and restricts', () => {
  const seen = new Set<string>();
  const clear = facts.map((it) => ({
    ...it,
    authority: { scheme: 'https' as const, host: 'api.example.com', port: 443 },
    methodFields: [],
    pathFields: [],
  }));
  fc.assert(
    fc.property(ruleSet, clear, (own, request) => {
      fc.pre(!isUnread(readPath(request.path)) && !isUnread(readQuery(request.path)));
      const expected = plainly(own, request);
      const decision = decideRequest(policyFrom({ own, others: [], allowPlainHttp: false }), request);
      const { rule, needsBody } = decision;
      const enforced = decision.outcome === 'inject' ? 'allow' : decision.outcome;
      const got = own.mode === 'enforce' || decision.outcome === 'deny' ? enforced : reportedBy(decision);
      const limits = decision.outcome === 'deny' ? [] : decision.limits;
      expect({ outcome: got, rule, needsBody, limits }).toEqual(expected);
      if (own.mode === 'report') expect(decision.outcome).toBe('inject');
      seen.add(`${own.mode} ${expected.outcome}`);
    }),
    { numRuns: 5_000 },
  );
  expect(seen.size).toBe(8);
});

function reportedBy(decision: Exclude<Decision, { outcome: 'deny' }>): RuleOutcome {
  return decision.reported?.outcome ?? 'allow';
}

/** Characters of segments, and those that no server reads alike. */
const pathText = fc
  .array(
    fc.oneof(
      {
        arbitrary: fc.constantFrom('a', 'index', 'Default', 'x.php', '/', '/', "k('v')", '.', 'B'),
        weight: 9,
      },
      { arbitrary: fc.constantFrom('..', '//', ';', '\\', '\x7f', 'é', '#', '?', '?a/../b', ' '), weight: 1 },
    ),
    { maxLength: 8 },
  )
  .map((parts) => `/${parts.join('')}`);

test('a path is read the same with a plain and with an encoded letter', () => {
  let read = 0;
  fc.assert(
    fc.property(pathText, fc.nat(), (text, nth) => {
      const end = text.includes('?') ? text.indexOf('?') : text.length;
      const letters = [...text.slice(0, end).matchAll(/[A-Za-z]/g)].map(({ index }) => index);
      fc.pre(letters.length > 0);
      const at = letters[nth % letters.length]!;
      const encoded = `${text.slice(0, at)}%${text.charCodeAt(at).toString(16)}${text.slice(at + 1)}`;
      const reading = readPath(text);
      if (isUnread(reading)) expect(isUnread(readPath(encoded))).toBe(true);
      else {
        read += 1;
        expect(reading).toEqual(readPath(encoded));
      }
    }),
    { numRuns: 5_000 },
  );
  expect(read).toBeGreaterThan(1_000);
});

test('a path has the same length limits with plain and with encoded letters', () => {
  for (const [path, isTooLong] of [
    [`/${'a'.repeat(8_191)}`, false],
    [`/${'a'.repeat(8_192)}`, true],
    [`/%61${'a'.repeat(8_188)}`, false],
    [`/%61${'a'.repeat(8_189)}`, true],
    ['/a'.repeat(256), false],
    ['/a'.repeat(257), true],
    ['/%61'.repeat(256), false],
    ['/%61'.repeat(257), true],
    [`/${'a'.repeat(8_191)}?${'b'.repeat(99)}`, false],
  ] as const) {
    const reading = readPath(path);
    expect(isUnread(reading) && reading.isLong === true).toBe(isTooLong);
  }
});

test('a query is searched for methods the same with and without encoded characters', () => {
  const part = fc.constantFrom(
    ...'method httpmethod override http x me h m META _ $ - . + [ ] = & ; ? GET delete 1 é'.split(' '),
    '\0',
    '\x10',
    ' ',
  );
  const query = fc.array(part, { maxLength: 10 }).map((parts) => parts.join(''));
  const ruled = new Set(['LIST']);
  let found = 0;
  fc.assert(
    fc.property(query, fc.constantFrom([], [], ['verb']), (query, methodParameters) => {
      const of = (path: string) =>
        methodOverride({ path, methodFields: [], methodParameters, body: null }, ruled);
      const override = of(`/a?${query}`);
      // An encoded character has every parameter decoded and compared.
      expect(override).toEqual(of(`/a?%61=1&${query}`));
      if (override.refused !== null || override.methods.length > 0) found += 1;
    }),
    { numRuns: 10_000 },
  );
  expect(found).toBeGreaterThan(100);
});

test('a set of field names contains every spelling that is read as one of the names', () => {
  const names = ['x-api-key', 'Authorization', 'path-info', '-odd', `x-${'long'.repeat(10)}`, '9a'];
  const set = new FieldNames(names);
  const read = new Set(names.map(fieldNameAsRead));
  const spelling = fc.constantFrom(...names).chain((name) =>
    fc
      .array(fc.constantFrom('same', 'upper', '_', '.', 'İ', 'K'), {
        minLength: name.length,
        maxLength: name.length,
      })
      .map((changes) =>
        Array.from(name, (character, i) => {
          const change = changes[i]!;
          if (change === 'upper') return character.toUpperCase();
          return change === 'same' || (character !== '-' && i % 7 !== 3) ? character : change;
        }).join(''),
      ),
  );
  let had = 0;
  fc.assert(
    fc.property(fc.oneof(spelling, fc.string(), fc.string({ unit: 'binary' })), (text) => {
      expect(fieldNameAsRead(text)).toHaveLength(text.length);
      const expected = read.has(fieldNameAsRead(text));
      expect(set.has(text)).toBe(expected);
      if (expected) had += 1;
    }),
    { numRuns: 10_000 },
  );
  expect(had).toBeGreaterThan(100);
});

test('an echoing segment is found at any position of a path', () => {
  const part = fc.constantFrom(
    '/',
    '/',
    'headers',
    'Trace',
    'requestinfo',
    'phpinfo.php',
    'a',
    'x',
    '?',
    ';',
    '-',
  );
  let found = 0;
  fc.assert(
    fc.property(fc.array(part, { maxLength: 6 }), (parts) => {
      const path = `/${parts.join('')}`;
      const search = leakSearchFor('auto', { host: 'api.example.com', path });
      // A place has the path searched without the first look.
      expect(search).toEqual(leakSearchFor('auto', { host: 'api.example.com', path, places: ['/none'] }));
      if (search?.covers === 'all') found += 1;
    }),
    { numRuns: 5_000 },
  );
  expect(found).toBeGreaterThan(100);
});
