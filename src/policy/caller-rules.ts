import { readRequest } from './read-request.ts';
import type { RequestFacts } from './request-facts.ts';
import type { ConditionName, DomainRules, Rule } from './rule.ts';

/** Who asks, and from where. */
export type CallerSide = Pick<RequestFacts, 'agent' | 'user' | 'labels' | 'client'>;

/** The conditions that are about that; all others are about what is asked for, and when. */
const aboutCaller: ReadonlySet<ConditionName> = new Set(['agents', 'users', 'labels', 'clients']);

/**
 * The rules that a caller can meet, without what they say of callers: a caller learns what it may do, and not who else
 * there is. Where it cannot be told whether a rule is for this caller, it is among them.
 */
export function rulesFor({ rules }: Pick<DomainRules, 'rules'>, caller: CallerSide): readonly Rule[] {
  const request = readRequest({ ...anything, ...caller });
  return rules
    .filter(({ checks }) =>
      checks.every(({ condition, test }) => !aboutCaller.has(condition) || test(request) !== 'no'),
    )
    .map(({ rule }) => ({
      ...rule,
      conditions: { ...rule.conditions, agents: null, users: null, labels: null, clients: null },
    }));
}

/** What the checks of callers do not look at. */
const anything: RequestFacts = {
  authority: { scheme: 'https', host: 'any.invalid', port: 443 },
  method: 'GET',
  methodFields: [],
  pathFields: [],
  methodParameters: [],
  upgrades: false,
  path: '/',
  client: '',
  agent: null,
  user: null,
  labels: [],
  reason: null,
  contentType: null,
  contentLength: 0,
  now: 0,
  body: null,
};

/** Methods that change nothing (RFC 9110 §9.2.1), as far as they can reach an upstream. */
const reading: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS']);

/** Whether these rules let nothing through but what only reads. Of rules that only report, nothing is certain. */
export function areReadOnly(
  rules: readonly Pick<Rule, 'outcome' | 'conditions'>[],
  { default: otherwise, mode }: Pick<DomainRules, 'default' | 'mode'>,
): boolean {
  if (mode === 'report' || otherwise !== 'deny') return false;
  return rules.every(
    ({ outcome, conditions: { methods } }) =>
      outcome === 'deny' || methods?.every((method) => reading.has(method)) === true,
  );
}
