import { describe, expect, it } from 'vitest';
import { decide, decideRequest, type Policy } from '../../src/proxy/policy/decide.ts';
import { createDomainMap, type Domain } from '../../src/proxy/policy/domain-map.ts';
import { compileRule } from '../../src/proxy/policy/judge.ts';
import { isUnread, readPath, readQuery } from '../../src/proxy/policy/path.ts';
import { ReadRequest, type RequestFacts } from '../../src/proxy/policy/request.ts';
import {
  type Conditions,
  conditionsCover,
  type DomainRules,
  type Rule,
  type ConditionResult,
} from '../../src/proxy/policy/rule.ts';
import { applyScheme } from '../../src/proxy/schemes/apply.ts';
import * as fc from '../support/fast-check.ts';
import {
  bodies,
  conditions,
  facts,
  fewConditions,
  outcome,
  policies,
  policyOf,
  rule,
  ruleOf,
  rulesOf,
} from '../support/random-policies.ts';
import { patternOf } from '../unit/proxy/policy/policy-for-test.ts';

const allows = (rules: DomainRules, request: RequestFacts): boolean => {
  const domain: Domain = {
    pattern: patternOf('*.example.com'),
    action: { kind: 'grant', grant: 'one', allowPlainHttp: true },
    origin: '',
    rules,
  };
  const policy: Policy = { domains: createDomainMap([domain]), unmatched: 'deny' };
  const { outcome } = decideRequest(policy, request);
  return outcome === 'inject';
};

describe('a decision on a request', () => {
  it('is made for any facts, without an exception', () => {
    const anything = fc.record({
      authority: fc.record({
        scheme: fc.constantFrom('https' as const, 'http' as const),
        host: fc.constantFrom('api.example.com', ''),
        port: fc.integer(),
      }),
      method: fc.string({ unit: 'binary' }),
      methodFields: fc.array(fc.string()),
      pathFields: fc.array(fc.string()),
      methodParameters: fc.array(fc.string()),
      upgrades: fc.boolean(),
      path: fc.oneof(fc.string({ unit: 'binary' }), fc.webPath(), fc.string()),
      client: fc.oneof(fc.string({ unit: 'binary' }), fc.ipV4(), fc.ipV6()),
      agent: fc.option(fc.string()),
      user: fc.option(fc.string()),
      labels: fc.array(fc.string()),
      reason: fc.option(fc.string()),
      contentType: fc.option(fc.string()),
      contentLength: fc.option(fc.double()),
      now: fc.double(),
      body: fc.constantFrom(null, ...bodies),
    });
    fc.assert(
      fc.property(policies, fc.oneof(facts, anything), ({ ruled }, request) => {
        const decision = decideRequest(ruled, request);
        expect(decision.reason).not.toBe('');
        if (decision.outcome === 'deny') expect(decision.hint).not.toBe('');
      }),
      { numRuns: 3_000 },
    );
  });

  it('allows no more than the entry of the domain: the same grant, or none', () => {
    fc.assert(
      fc.property(policies, facts, ({ bare, ruled }, request) => {
        const entry = decide(bare, request.authority);
        const decision = decideRequest(ruled, request);
        if (decision.outcome === 'inject' || decision.outcome === 'approve') {
          expect(entry).toMatchObject({
            outcome: 'inject',
            grant: decision.grant,
            allowPlainHttp: decision.allowPlainHttp,
          });
        }
        if (entry.outcome !== 'inject') expect(decision.outcome).toBe(entry.outcome);
      }),
      { numRuns: 5_000 },
    );
  });

  it('allows no more if other rules apply as well, and no more than those rules by themselves', () => {
    const strictness = { deny: 0, tunnel: 1, approve: 2, inject: 3 };
    const others = fc.array(fc.tuple(fc.array(rule, { maxLength: 3 }), outcome), {
      minLength: 1,
      maxLength: 2,
    });
    const own = fc.option(
      fc.tuple(
        fc.array(rule, { maxLength: 3 }),
        outcome,
        fc.constantFrom('enforce' as const, 'report' as const),
      ),
    );
    let narrowed = 0;
    fc.assert(
      fc.property(own, others, facts, (ruled, besides, request) => {
        const rest = besides.map((each) => rulesOf(...each));
        const decisionBy = (parts: Pick<Domain, 'rules' | 'additionalRules'>) =>
          decideRequest(
            policyOf([
              {
                pattern: patternOf('*.example.com'),
                action: { kind: 'grant', grant: 'one', allowPlainHttp: true },
                origin: 'here',
                ...parts,
              },
            ]),
            request,
          );
        const rules = ruled === null ? {} : { rules: rulesOf(...ruled) };
        const without = decisionBy(rules);
        const decision = decisionBy({ ...rules, additionalRules: rest });
        if (strictness[decision.outcome] < strictness[without.outcome]) narrowed += 1;
        for (const alone of [without, ...rest.map((each) => decisionBy({ rules: each }))]) {
          expect(strictness[decision.outcome]).toBeLessThanOrEqual(strictness[alone.outcome]);
          // A final refusal by one set is refused before the body is read.
          if (alone.outcome === 'deny' && !alone.needsBody) expect(decision.needsBody).toBe(false);
          if (decision.outcome === 'deny' || alone.outcome === 'deny') continue;
          if (alone.maxResponse !== null && alone.mode === 'enforce')
            expect(decision.maxResponse).toBeLessThanOrEqual(alone.maxResponse);
          // A yes that was kept for the rules of one alone is none for all of them.
          const wantBoth = decision.outcome === 'approve' && alone.outcome === 'approve';
          if (wantBoth) expect(decision.approvalKey?.split(' ')).toContain(alone.approvalKey?.split(' ')[0]);
        }
      }),
      { numRuns: 5_000 },
    );
    expect(narrowed).toBeGreaterThan(100);
  });

  it('never widens an audience: an allowed credential is sent only to a host of its audience', () => {
    const audience = ['api.example.com'];
    fc.assert(
      fc.property(policies, facts, ({ ruled }, request) => {
        const decision = decideRequest(ruled, request);
        if (decision.outcome !== 'inject') return;
        const { authority } = request;
        const within =
          authority.host === 'api.example.com' &&
          authority.port === (authority.scheme === 'https' ? 443 : 80);
        const carry = () =>
          applyScheme(
            { path: request.path, fields: [] },
            {
              sealed: { credential: { type: 'api_key', value: 'x' }, audience } as never,
              placement: { kind: 'bearer' },
              authority,
              allowPlainHttp: decision.allowPlainHttp,
            },
          );
        if (within) expect(carry).not.toThrow();
        else expect(carry).toThrow();
      }),
      { numRuns: 2_000 },
    );
  });

  it('allows no more after a deny rule is added, or after an allow rule gets another condition', () => {
    const plain = fc.array(
      fc
        .tuple(fewConditions, fc.constantFrom('allow' as const, 'deny' as const))
        .map(([it, does]) => ruleOf(it, does)),
      { maxLength: 5 },
    );
    fc.assert(
      fc.property(plain, fewConditions, fc.nat(5), facts, (rules, more, place, request) => {
        const before = allows(rulesOf(rules), request);
        const denied = rules.toSpliced(place, 0, ruleOf(more, 'deny'));
        if (allows(rulesOf(denied), request))
          expect(isJudgedAlike(rules, denied, request) ? before : true).toBe(true);
        const at = rules[place];
        if (at?.outcome !== 'allow') return;
        const narrower = { ...at, conditions: withMore(at.conditions, more) };
        if (
          allows(rulesOf(rules.with(place, narrower)), request) &&
          isJudgedAlike(rules, [narrower], request)
        ) {
          expect(before).toBe(true);
        }
      }),
      { numRuns: 20_000 },
    );
  });
});

/** Reports whether both lists judge the request: a list without paths accepts a path with two readings. */
function isJudgedAlike(a: readonly Rule[], b: readonly Rule[], { path }: RequestFacts): boolean {
  const looks = [...a, ...b].some(({ conditions }) => conditions.paths !== null || conditions.query !== null);
  return !looks || (!isUnread(readPath(path)) && !isUnread(readQuery(path)));
}

function withMore(conditions: Conditions, more: Conditions): Conditions {
  const free = Object.entries(more).filter(([name]) => conditions[name as keyof Conditions] === null);
  return { ...conditions, ...Object.fromEntries(free) };
}

describe('conditions that cover others', () => {
  it('hold whenever the covered conditions hold', () => {
    fc.assert(
      fc.property(fewConditions, fc.oneof(fewConditions, conditions), facts, (outer, more, request) => {
        const inner = withMore(outer, more);
        for (const narrow of [inner, more]) {
          if (conditionsCover(outer, narrow) && verdictOf(narrow, request) === 'yes') {
            expect(verdictOf(outer, request)).toBe('yes');
          }
        }
      }),
      { numRuns: 20_000 },
    );
  });
});

function verdictOf(conditions: Conditions, facts: RequestFacts): ConditionResult {
  const request = new ReadRequest(facts);
  if (isUnread(request.path())) return 'unclear';
  const verdicts = compileRule(ruleOf(conditions, 'allow')).checks.map(({ test }) => test(request));
  return verdicts.includes('no') ? 'no' : verdicts.includes('unclear') ? 'unclear' : 'yes';
}
