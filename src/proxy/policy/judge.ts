import type { UnreadableBody } from '../../lib/content-coding.ts';
import type { FailureCode } from '../../lib/failures.ts';
import { hasForm } from './body.ts';
import { type Test, tests } from './conditions.ts';
import { boundOf } from './limits.ts';
import { methodOverride, type NamedMethod } from './method-override.ts';
import { isUnread, type ReadingProblem } from './path.ts';
import { ReadRequest, type RequestFacts } from './request.ts';
import {
  bodyConditions,
  boundsOf,
  type Check,
  type CompiledRule,
  type ConditionName,
  type ConditionResult,
  type Conditions,
  type DomainRules,
  type Parameters,
  type Rule,
  type RuleResult,
  type RuleStep,
  type TimeWindow,
  type ValueCondition,
  weekdayNames,
} from './rule.ts';

/**
 * Evaluates the rules in order. Never throws. All requests that match a rule get its frozen result.
 *
 * @param steps receives each evaluated rule, in order; the last one decided
 */
export function evaluateRules(
  domain: DomainRules,
  facts: RequestFacts,
  steps: RuleStep[] | null = null,
): RuleResult {
  if (domain.readsMethods) {
    const override = methodOverride(facts, domain.methods);
    if (override.refused !== null) return twoMethods(domain, override.refused, facts);
    if (override.methods.length > 0) return evaluateMethods(domain, facts, override.methods, steps);
  }
  return evaluateFirst(domain, facts, steps);
}

/** Evaluates by the method of the request line, and by the methods that parameters name. */
function evaluateMethods(
  domain: DomainRules,
  facts: RequestFacts,
  methods: readonly NamedMethod[],
  steps: RuleStep[] | null,
): RuleResult {
  let result = evaluateFirst(domain, facts, steps);
  for (const named of methods) {
    if (named.method !== facts.method) result = strictest(result, evaluateAs(domain, facts, named, steps));
  }
  return result;
}

/** Evaluates by the method of the request line. Before an approval, the form is read for another method. */
function evaluateFirst(domain: DomainRules, facts: RequestFacts, steps: RuleStep[] | null): RuleResult {
  const result = evaluateOnce(domain, facts, steps);
  if (result.outcome !== 'approve') return result;
  const isUnreadForm = facts.body === null && facts.contentLength !== 0 && hasForm(facts.contentType);
  return isUnreadForm ? { ...result, needsBody: true } : result;
}

/** Evaluates a request with the method that a parameter names. */
function evaluateAs(
  domain: DomainRules,
  facts: RequestFacts,
  { method, parameter }: NamedMethod,
  steps: RuleStep[] | null,
): RuleResult {
  const result = evaluateOnce(domain, { ...facts, method }, steps);
  const reason = `${result.reason}, for some servers run it as ${method}, which the parameter ${parameter} names`;
  return { ...result, reason };
}

/** Evaluates the rules in order, by the method of the facts. */
function evaluateOnce(domain: DomainRules, facts: RequestFacts, steps: RuleStep[] | null): RuleResult {
  if (domain.readsPath && facts.pathFields.length > 0) return twoPaths(domain, facts.pathFields[0]!);
  const request = new ReadRequest(facts);
  if (domain.readsPath) {
    const path = request.path();
    if (isUnread(path)) return ambiguousTarget(domain, 'path', path);
  }
  if (domain.readsQuery) {
    const query = request.query();
    if (isUnread(query)) return ambiguousTarget(domain, 'query', query);
  }
  let needsBody = false;
  let unread: UnreadableBody | undefined;
  const { rules, results } = domain;
  for (let i = 0; i < rules.length; i += 1) {
    const compiled = rules[i]!;
    const step = stepOf(compiled, request);
    steps?.push(step);
    if (step.result === 'no') continue;
    if (step.result === 'yes') return withNeed(resultFor(compiled, results[i]!, facts), needsBody);
    const wantsBody = isUnclearInBody(compiled, request);
    needsBody ||= wantsBody && facts.body === null && facts.contentLength !== 0;
    if (wantsBody) unread ??= facts.body?.unread;
    if (compiled.restricts) return withNeed(unclearResult(compiled, step, unread), needsBody);
  }
  steps?.push(domain.defaultStep);
  return withNeed(domain.defaultResult ?? defaultDenial(domain, request, unread), needsBody);
}

function withNeed(result: RuleResult, needsBody: boolean): RuleResult {
  return needsBody ? { ...result, needsBody } : result;
}

/** Returns the step of the first failed condition, else of the first unclear one, else the match. */
export function stepOf({ checks, matched }: CompiledRule, request: ReadRequest): RuleStep {
  let step = matched;
  for (let i = 0; i < checks.length; i += 1) {
    const check = checks[i]!;
    const verdict = check.test(request);
    if (verdict === 'no') return check.no;
    if (verdict === 'unclear' && step === matched) step = check.unclear;
  }
  return step;
}

/** Reports whether a rule is unclear because of the body. */
function isUnclearInBody({ checks }: CompiledRule, request: ReadRequest): boolean {
  return checks.some(({ condition, test }) => readsBody.has(condition) && test(request) === 'unclear');
}

const readsBody: ReadonlySet<ConditionName> = new Set(bodyConditions);

/** Returns the result of a matching rule. */
function resultFor({ rule }: CompiledRule, result: RuleResult, { reason }: RequestFacts): RuleResult {
  if (!rule.requireReason || result.outcome === 'deny' || (reason !== null && reason.trim() !== ''))
    return result;
  return denial(rule, 'needs a reason', 'send it in the request header Sidekey-Reason');
}

/** Returns the result of a rule for every matching request. */
function resultOf(rule: Rule): RuleResult {
  const { outcome, origin, name, key, limits, maxResponse, upgrades } = rule;
  if (outcome === 'deny') return denial(rule, 'is denied by a rule', `change or remove ${origin}`);
  const reasons = { allow: 'is allowed by', approve: 'needs approval by', tunnel: 'gets no credential by' };
  return {
    ...plain,
    outcome,
    rule: origin,
    ruleName: name,
    approvalKey: outcome === 'approve' ? key : null,
    reason: `the request ${reasons[outcome]} ${name ?? 'a rule'}`,
    limits,
    maxResponse,
    upgrades,
  };
}

/** The fields that most results share. */
const plain = {
  ruleName: null,
  approvalKey: null,
  code: null,
  hint: null,
  limits: [],
  maxResponse: null,
  upgrades: [],
  needsBody: false,
} as const;

function denial(
  { origin, name }: Pick<Rule, 'origin' | 'name'>,
  what: string,
  hint: string,
  code: FailureCode = 'rule_denied',
): RuleResult {
  return {
    ...plain,
    outcome: 'deny',
    rule: origin,
    ruleName: name,
    reason: `the request ${what}`,
    code,
    hint,
  };
}

/** Denies because a restricting rule may or may not match. */
function unclearResult(
  { rule }: CompiledRule,
  { condition }: RuleStep,
  unread: UnreadableBody | undefined,
): RuleResult {
  if (unread !== undefined) return denial(rule, unreadWords(unread), unread.hint);
  const hint = `ask for one thing at a time, in its plain form: ${rule.origin} is about ${condition}`;
  return denial(rule, 'can be read in two ways, or only in part', hint);
}

function unreadWords({ problem }: UnreadableBody): string {
  return `has a body that the rules cannot judge: it ${problem}`;
}

/** Denies a request without a matching rule. */
function defaultDenial(
  { defaultOrigin, origin }: DomainRules,
  request: ReadRequest,
  unread: UnreadableBody | undefined,
): RuleResult {
  if (unread !== undefined)
    return denial({ origin: defaultOrigin, name: null }, unreadWords(unread), unread.hint);
  const hint = `add to ${origin}: ${ruleFor(request)}`;
  return denial({ origin: defaultOrigin, name: null }, 'is matched by no rule', hint);
}

/** Returns the result of a default, or null for a denial. */
function defaultResultOf({
  default: outcome,
  defaultOrigin,
  key,
}: Pick<DomainRules, 'default' | 'defaultOrigin' | 'key'>): RuleResult | null {
  if (outcome === 'deny') return null;
  return {
    ...plain,
    outcome,
    rule: defaultOrigin,
    approvalKey: outcome === 'approve' ? `${key} default` : null,
    reason: `no rule matches, and the default is ${outcome}`,
  };
}

function ambiguousTarget(
  domain: DomainRules,
  part: 'path' | 'query',
  { problem, isLong }: ReadingProblem,
): RuleResult {
  if (isLong === true) {
    return violation(
      domain,
      `has a ${part} that is too long to be judged: it ${problem}`,
      `ask for less at a time; the rules of ${domain.origin} read the complete ${part}`,
    );
  }
  return violation(
    domain,
    `has a ${part} that servers read in different ways: it ${problem}`,
    `send the ${part} in its plain form; the rules of ${domain.origin} judge what upstream reads`,
  );
}

function twoMethods(
  domain: DomainRules,
  override: string,
  { body, methodFields }: Pick<RequestFacts, 'body' | 'methodFields'>,
): RuleResult {
  if (body?.form === null && body.unread !== undefined && methodFields.length === 0)
    return violation(domain, unreadWords(body.unread), body.unread.hint);
  return violation(
    domain,
    `names its method in ${override} too, which some servers take for the method`,
    `send the method in the request line alone, without ${override}; the rules of ${domain.origin} judge methods`,
  );
}

function twoPaths(domain: DomainRules, override: string): RuleResult {
  return violation(
    domain,
    `names a path in ${override} too, which some servers take for the path`,
    `send the request without ${override}; the rules of ${domain.origin} judge the path of the request line`,
  );
}

/** Denies before any rule is evaluated. */
function violation({ origin }: DomainRules, what: string, hint: string): RuleResult {
  return denial({ origin, name: null }, what, hint, 'policy_violation');
}

/** Prepares a rule once, so that each request only runs its checks. */
export function compileRule(rule: Rule): CompiledRule {
  const step = (result: ConditionResult, condition: string | null): RuleStep => ({
    rule: rule.origin,
    name: rule.name,
    outcome: rule.outcome,
    result,
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

/** Prepares the rules of a domain. */
export function compileRules(
  domain: Pick<DomainRules, 'rules' | 'default' | 'defaultOrigin' | 'key' | 'mode' | 'origin'>,
): DomainRules {
  const reads = (name: ConditionName) => domain.rules.some(({ rule }) => rule.conditions[name] !== null);
  // A person who approves sees the method and the path.
  const asks = domain.default === 'approve' || domain.rules.some(({ rule }) => rule.outcome === 'approve');
  return {
    ...domain,
    methods: new Set(domain.rules.flatMap(({ rule }) => rule.conditions.methods ?? [])),
    readsMethods: asks || reads('methods'),
    readsPath: asks || reads('paths'),
    readsQuery: reads('query'),
    limitsTools: domain.mode !== 'report' && reads('jsonrpc'),
    results: domain.rules.map(({ rule }) => Object.freeze(resultOf(rule))),
    defaultStep: {
      rule: domain.defaultOrigin,
      name: null,
      outcome: domain.default,
      result: 'yes',
      condition: null,
    },
    defaultResult: Object.freeze(defaultResultOf(domain)),
  };
}

/** Describes a step: the rule, its config line, and the reason why it matches or not. */
export function describeStep({ rule, name, outcome, result, condition }: RuleStep): string {
  const subject = name === null ? rule : `${name}, ${rule}`;
  switch (result) {
    case 'yes':
      return `${subject}: ${outcome}`;
    case 'no':
      return `${subject}: does not match, because of ${condition}`;
    case 'unclear':
      return `${subject}: unknown, because of ${condition}`;
  }
}

/** Describes the conditions and requirements of a rule, without its outcome: `methods GET; paths /v1/**`. */
export function describeRule({ conditions, requireReason, limits, maxResponse, upgrades }: Rule): string {
  const names = Object.keys(conditions) as ConditionName[];
  const when = names
    .filter((name) => conditions[name] !== null)
    .map((name) => describeCondition(conditions, name));
  return [
    ...(when.length === 0 ? ['every request'] : when),
    ...(requireReason ? ['with a reason'] : []),
    ...limits.map((limit) => `at most ${boundOf(limit)} per ${limit.per}`),
    ...(maxResponse === null ? [] : [`responses of at most ${maxResponse} bytes`]),
    ...(upgrades.length === 0 ? [] : [`may switch to ${upgrades.join(', ')}`]),
  ].join('; ');
}

/** Returns a rule that allows only this request: its method, and its path if unambiguous. */
function ruleFor(request: ReadRequest): string {
  const { method } = request.facts;
  const methods = `methods: [${/^[A-Z-]+$/.test(method) ? method : JSON.stringify(method)}]`;
  const read = request.path();
  const text = isUnread(read) ? '*' : `/${read.segments.join('/')}`;
  // In the config file, these characters match more than this path, or something else.
  if (/[*%;\\?#]|\p{Cc}|[^\x20-\x7e]/u.test(text)) return `- { ${methods} }`;
  return `- { ${methods}, paths: [${/^[A-Za-z0-9/._-]+$/.test(text) ? text : JSON.stringify(text)}] }`;
}

/**
 * Combines the results of two sets of rules, both of which a request must pass: the stricter outcome, all
 * limits, and the lower bounds. Refuses if one requires an approval and the other forbids a credential.
 */
export function strictest(one: RuleResult, other: RuleResult): RuleResult {
  const first = strictestOutcome(one, other);
  const second = first === one ? other : one;
  if (first.outcome === 'deny') {
    // A denial that is independent of the body is final.
    const isFinal = [one, other].some(({ outcome, needsBody }) => outcome === 'deny' && !needsBody);
    return { ...first, needsBody: !isFinal };
  }
  const needsBody = one.needsBody || other.needsBody;
  if (first.outcome === 'tunnel' && second.outcome === 'approve') {
    return {
      ...first,
      outcome: 'deny',
      reason: 'the request needs approval by one rule, and gets no credential by another',
      code: 'rule_denied',
      hint: `change ${first.rule}, or ${second.rule}`,
      limits: [],
      maxResponse: null,
      needsBody,
    };
  }
  const keys = [...new Set([one.approvalKey, other.approvalKey])].filter((key) => key !== null);
  const bounds = [one.maxResponse, other.maxResponse].filter((bytes) => bytes !== null);
  return {
    ...first,
    // An approval for one of them does not cover both.
    approvalKey: keys.length === 0 ? null : keys.join(' '),
    // A rule in both sets counts the request once.
    limits: [...new Set([...one.limits, ...other.limits])],
    maxResponse: bounds.length === 0 ? null : Math.min(...bounds),
    upgrades: one.upgrades.filter((name) => other.upgrades.includes(name)),
    needsBody,
  };
}

/** Outcomes, strictest first. */
const order = ['deny', 'tunnel', 'approve', 'allow'] as const satisfies readonly RuleResult['outcome'][];

/** Returns the deciding result. Of two denials, prefers one that is independent of the body. */
function strictestOutcome(one: RuleResult, other: RuleResult): RuleResult {
  const [a, b] = [order.indexOf(one.outcome), order.indexOf(other.outcome)];
  if (a !== b) return a < b ? one : other;
  return one.outcome === 'deny' && one.needsBody && !other.needsBody ? other : one;
}

type Words = { readonly [K in ConditionName]: (condition: NonNullable<Conditions[K]>) => string };

const list = (items: readonly (string | { readonly text: string })[]) =>
  items.map((item) => (typeof item === 'string' ? item : item.text)).join(', ');

const words: Words = {
  methods: (methods) => `methods ${list(methods)}`,
  paths: (paths) => `paths ${list(paths)}`,
  query: (query) => `query ${describeParameters(query)}`,
  contentTypes: (types) => `content_types ${list(types)}`,
  bodySize: ({ min, max }) => `body_size ${min} to ${max ?? 'any number of'} bytes`,
  times: (times) => `times ${times.map(describeWindow).join(', ')}`,
  clients: (blocks) => `clients ${blocks.map(({ address, prefix }) => `${address}/${prefix}`).join(', ')}`,
  agents: (globs) => `agents ${list(globs)}`,
  users: (globs) => `users ${list(globs)}`,
  labels: (globs) => `labels ${list(globs)}`,
  graphql: ({ types, names }) => describeBoth('graphql', ['types', types], ['names', names]),
  jsonrpc: ({ methods, tools, arguments: wanted }) =>
    describeBoth(
      'jsonrpc',
      ['methods', methods],
      ['tools', tools],
      ['arguments', wanted === undefined ? null : [describeParameters(wanted)]],
    ),
  json: (members) => `json ${describeParameters(members)}`,
  form: (parameters) => `form ${describeParameters(parameters)}`,
};

function describeParameters(parameters: Parameters): string {
  return [...parameters].map(([name, condition]) => `${name}${describeValue(condition)}`).join(' ');
}

/** Describes a condition for a value: `=a, b`, `>=1`, `<=9`, `?` if it may be absent. */
function describeValue(condition: ValueCondition): string {
  const { values, min, max, optional } = boundsOf(condition);
  const globs = values === null ? '' : `=${list(values)}`;
  const bounds = [...(min === null ? [] : [`>=${min}`]), ...(max === null ? [] : [`<=${max}`])];
  return `${optional ? '?' : ''}${globs}${bounds.join(',')}`;
}

/** Describes a condition in the words of the config file. */
function describeCondition<K extends ConditionName>(conditions: Pick<Conditions, K>, name: K): string {
  return words[name](conditions[name] as NonNullable<Conditions[K]>);
}

type Part = readonly [name: string, items: readonly (string | { readonly text: string })[] | null];

function describeBoth(name: string, ...parts: readonly Part[]): string {
  const given = parts.flatMap(([part, items]) => (items === null ? [] : [`${part} ${list(items)}`]));
  return [name, ...given].join(' ');
}

/** Formats a window: `mon, tue 09:00-17:30 Europe/Berlin`. */
export function describeWindow({ from, to, weekdays, zone }: TimeWindow): string {
  const days = weekdays.length === 7 ? '' : `${weekdays.map((day) => weekdayNames[day]).join(' ')} `;
  return `${days}${clock(from)}-${clock(to)} ${zone}`;
}

function clock(minute: number): string {
  return [Math.floor(minute / 60), minute % 60].map((part) => String(part).padStart(2, '0')).join(':');
}
