import { tests, type Test } from './checks.ts';
import { describeCondition } from './condition-words.ts';
import type {
  Check,
  CompiledRule,
  ConditionName,
  Conditions,
  DomainRules,
  Rule,
  Step,
  Verdict,
} from './rule.ts';

/** Whatever a request needs none of is made here, once: a request is only asked. */
export function compileRule(rule: Rule): CompiledRule {
  const step = (verdict: Verdict, condition: string | null): Step => ({
    rule: rule.origin,
    name: rule.name,
    outcome: rule.outcome,
    verdict,
    condition,
  });
  const names = Object.keys(tests) as ConditionName[];
  const checks = names.flatMap((condition): Check[] => {
    const test = testOf(rule.conditions, condition);
    if (test === null) return [];
    const text = describeCondition(rule.conditions, condition);
    return [{ condition, test, no: step('no', text), unclear: step('unclear', text) }];
  });
  const limits = rule.requireReason || rule.limits.length > 0 || rule.maxResponse !== null;
  return { rule, checks, restricts: rule.outcome !== 'allow' || limits, matched: step('yes', null) };
}

function testOf<K extends ConditionName>(conditions: Pick<Conditions, K>, name: K): Test | null {
  const condition = conditions[name];
  return condition === null ? null : tests[name](condition);
}

/** The rules of one domain together. */
export function compileRules(
  domain: Pick<DomainRules, 'rules' | 'default' | 'defaultOrigin' | 'key' | 'mode' | 'origin'>,
): DomainRules {
  const reads = (name: ConditionName) => domain.rules.some(({ rule }) => rule.conditions[name] !== null);
  // A person who is asked judges the method and the path that they are shown.
  const asks = domain.default === 'approve' || domain.rules.some(({ rule }) => rule.outcome === 'approve');
  return {
    ...domain,
    readsMethods: asks || reads('methods'),
    readsPath: asks || reads('paths'),
    readsQuery: reads('query'),
  };
}
