import type { FailureCode } from '../lib/failures.ts';
import { hasForm } from './body.ts';
import { type Test, tests } from './conditions.ts';
import { boundOf } from './limits.ts';
import { methodOverride, type NamedMethod } from './method-override.ts';
import { isUnread, type ReadingProblem } from './path.ts';
import { readRequest, type ReadRequest, type RequestFacts } from './request.ts';
import {
  type Check,
  type CompiledRule,
  type ConditionName,
  type ConditionResult,
  type Conditions,
  type DomainRules,
  type Rule,
  type RuleLimit,
  type RuleOutcome,
  type RuleStep,
  type TimeWindow,
  weekdayNames,
} from './rule.ts';

/** Result of the rules of a domain for one request, with its reason. */
export interface RuleResult {
  readonly outcome: RuleOutcome;
  /** Position in the config of the rule that decided, with its line. */
  readonly rule: string;
  /** Name of that rule in the config; null if it has none. */
  readonly ruleName: string | null;
  /** For `approve`, the key under which an approval is kept: it changes with the rule. Else null. */
  readonly approvalKey: string | null;
  /** The end of a sentence, without any part of the query or the body. */
  readonly reason: string;
  /** Set for a denial. */
  readonly code: FailureCode | null;
  readonly hint: string | null;
  /** Limits that count the request before it is sent; empty for a denial. */
  readonly limits: readonly RuleLimit[];
  /** Largest response body in bytes; null: no limit. */
  readonly maxResponse: number | null;
  /** Each rule that was evaluated, in order; the last one decided. */
  readonly steps: readonly RuleStep[];
  /**
   * True: the result depends on a body that was not read, and is the one for an unreadable body. Read the body and
   * evaluate again.
   */
  readonly needsBody: boolean;
}

/** Evaluates the rules in order. Never throws. */
export function evaluateRules(domain: DomainRules, facts: RequestFacts): RuleResult {
  if (domain.readsMethods) {
    const override = methodOverride(facts, domain.methods);
    if (override.refused !== null) return twoMethods(domain, override.refused);
    const others = override.methods.filter(({ method }) => method !== facts.method);
    if (others.length > 0) {
      return others
        .map((named) => evaluateAs(domain, facts, named))
        .reduce(strictest, evaluateFirst(domain, facts));
    }
  }
  return evaluateFirst(domain, facts);
}

/** Evaluates by the method of the request line. A form is read before a person is asked: it may name another method. */
function evaluateFirst(domain: DomainRules, facts: RequestFacts): RuleResult {
  const ruling = evaluateOnce(domain, facts);
  const isUnreadForm = facts.body === null && facts.contentLength !== 0 && hasForm(facts.contentType);
  return ruling.outcome === 'approve' && isUnreadForm ? { ...ruling, needsBody: true } : ruling;
}

/** Evaluates a request with the method that a parameter names. */
function evaluateAs(
  domain: DomainRules,
  facts: RequestFacts,
  { method, parameter }: NamedMethod,
): RuleResult {
  const ruling = evaluateOnce(domain, { ...facts, method });
  const reason = `${ruling.reason}, for some servers run it as ${method}, which the parameter ${parameter} names`;
  return { ...ruling, reason };
}

/** Evaluates the rules in order, by the method of the facts. */
function evaluateOnce(domain: DomainRules, facts: RequestFacts): RuleResult {
  const [pathField] = domain.readsPath ? facts.pathFields : [];
  if (pathField !== undefined) return twoPaths(domain, pathField);
  const request = readRequest(facts);
  const path = domain.readsPath ? request.path() : null;
  if (path !== null && isUnread(path)) return ambiguousTarget(domain, 'path', path);
  const query = domain.readsQuery ? request.query() : null;
  if (query !== null && isUnread(query)) return ambiguousTarget(domain, 'query', query);
  const steps: RuleStep[] = [];
  let needsBody = false;
  for (const compiled of domain.rules) {
    const found = checkRule(compiled, request);
    steps.push(found.step);
    needsBody ||= found.needsBody;
    if (found.verdict === 'yes') return { ...resultOf(compiled, facts), steps, needsBody };
    if (found.verdict === 'unclear' && compiled.restricts) {
      return { ...unclearResult(compiled, found.step), steps, needsBody };
    }
  }
  const step: RuleStep = {
    rule: domain.defaultOrigin,
    name: null,
    outcome: domain.default,
    result: 'yes',
    condition: null,
  };
  return { ...defaultResult(domain, request), steps: [...steps, step], needsBody };
}

interface Answer {
  readonly verdict: ConditionResult;
  readonly step: RuleStep;
  readonly needsBody: boolean;
}

function checkRule({ checks, matched }: CompiledRule, request: ReadRequest): Answer {
  let step = matched;
  let needsBody = false;
  for (const check of checks) {
    const verdict = check.test(request);
    if (verdict === 'no') return { verdict, step: check.no, needsBody: false };
    if (verdict === 'yes') continue;
    if (step === matched) step = check.unclear;
    needsBody ||=
      (check.condition === 'graphql' || check.condition === 'jsonrpc') &&
      request.facts.body === null &&
      request.facts.contentLength !== 0;
  }
  return { verdict: step.result, step, needsBody };
}

type RuleResultCore = Omit<RuleResult, 'steps' | 'needsBody'>;

function resultOf({ rule }: CompiledRule, { reason }: RequestFacts): RuleResultCore {
  const { outcome, origin, limits, maxResponse, requireReason } = rule;
  const ruled = { rule: origin, ruleName: rule.name };
  if (outcome === 'deny') {
    return { ...ruled, ...denial('is denied by a rule', `change or remove ${origin}`) };
  }
  if (requireReason && (reason === null || reason.trim() === '')) {
    return { ...ruled, ...denial('needs a reason', 'send it in the request header Sidekey-Reason') };
  }
  const said = { allow: 'is allowed by', approve: 'needs approval by', tunnel: 'gets no credential by' };
  return {
    ...ruled,
    outcome,
    approvalKey: outcome === 'approve' ? rule.key : null,
    reason: `the request ${said[outcome]} ${rule.name ?? 'a rule'}`,
    code: null,
    hint: null,
    limits,
    maxResponse,
  };
}

function denial(
  what: string,
  hint: string,
  code: FailureCode = 'rule_denied',
): Pick<RuleResult, 'outcome' | 'approvalKey' | 'reason' | 'code' | 'hint' | 'limits' | 'maxResponse'> {
  const reason = `the request ${what}`;
  return { outcome: 'deny', approvalKey: null, reason, code, hint, limits: [], maxResponse: null };
}

/** Denies because a restricting rule may or may not match. */
function unclearResult({ rule }: CompiledRule, { condition }: RuleStep): RuleResultCore {
  const hint = `ask for one thing at a time, in its plain form: ${rule.origin} is about ${condition}`;
  return {
    rule: rule.origin,
    ruleName: rule.name,
    ...denial('can be read in two ways, or only in part', hint),
  };
}

function defaultResult(domain: DomainRules, request: ReadRequest): RuleResultCore {
  const ruled = { rule: domain.defaultOrigin, ruleName: null };
  if (domain.default === 'deny') {
    return {
      ...ruled,
      ...denial('is matched by no rule', `add to ${domain.origin}: ${ruleFor(request)}`),
    };
  }
  const reason = `no rule matches, and the default is ${domain.default}`;
  const approvalKey = domain.default === 'approve' ? `${domain.key} default` : null;
  return {
    ...ruled,
    outcome: domain.default,
    approvalKey,
    reason,
    code: null,
    hint: null,
    limits: [],
    maxResponse: null,
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
      `ask for less at a time; the rules of ${domain.origin} look at the whole ${part}`,
    );
  }
  return violation(
    domain,
    `has a ${part} that servers read in different ways: it ${problem}`,
    `send the ${part} in its plain form; the rules of ${domain.origin} judge what upstream reads`,
  );
}

function twoMethods(domain: DomainRules, override: string): RuleResult {
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
  const ruled = { rule: origin, ruleName: null, steps: [], needsBody: false };
  return { ...ruled, ...denial(what, hint, 'policy_violation') };
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

/** Prepares the rules of one domain. */
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
  };
}

/** Describes one step: the rule, its config line, and the reason why it matches or not. */
export function describeStep({ rule, name, outcome, result, condition }: RuleStep): string {
  const subject = name === null ? rule : `${name}, ${rule}`;
  switch (result) {
    case 'yes':
      return `${subject}: ${outcome}`;
    case 'no':
      return `${subject}: does not match, because of ${condition}`;
    case 'unclear':
      return `${subject}: nobody can tell, because of ${condition}`;
  }
}

/** Describes the conditions and requirements of a rule, without its outcome: `methods GET; paths /v1/**`. */
export function describeRule({ conditions, requireReason, limits, maxResponse }: Rule): string {
  const names = Object.keys(conditions) as ConditionName[];
  const when = names
    .filter((name) => conditions[name] !== null)
    .map((name) => describeCondition(conditions, name));
  return [
    ...(when.length === 0 ? ['every request'] : when),
    ...(requireReason ? ['with a reason'] : []),
    ...limits.map((limit) => `at most ${boundOf(limit)} per ${limit.per}`),
    ...(maxResponse === null ? [] : [`responses of at most ${maxResponse} bytes`]),
  ].join('; ');
}

/** Returns a rule line that allows just this request: its method, and its path if it is unambiguous. */
function ruleFor({ facts: { method }, path }: Pick<ReadRequest, 'facts' | 'path'>): string {
  const methods = `methods: [${/^[A-Z-]+$/.test(method) ? method : JSON.stringify(method)}]`;
  const read = path();
  const text = isUnread(read) ? '*' : `/${read.segments.join('/')}`;
  // These characters mean more than this path in the config file, or something else.
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
  const steps = [...one.steps, ...other.steps];
  if (first.outcome === 'deny') {
    // A denial that is independent of the body is final.
    const isFinal = [one, other].some(({ outcome, needsBody }) => outcome === 'deny' && !needsBody);
    return { ...first, steps, needsBody: !isFinal };
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
      steps,
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
    steps,
    needsBody,
  };
}

/** Outcomes, strictest first. */
const order = ['deny', 'tunnel', 'approve', 'allow'] as const satisfies readonly RuleResult['outcome'][];

/** Returns the deciding result; of two denials, one that is independent of the body. */
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
  query: (query) => `query ${[...query].map(([name, globs]) => `${name}=${list(globs)}`).join(' ')}`,
  contentTypes: (types) => `content_types ${list(types)}`,
  bodySize: ({ min, max }) => `body_size ${min} to ${max ?? 'any number of'} bytes`,
  times: (times) => `times ${times.map(describeWindow).join(', ')}`,
  clients: (blocks) => `clients ${blocks.map(({ address, prefix }) => `${address}/${prefix}`).join(', ')}`,
  agents: (globs) => `agents ${list(globs)}`,
  users: (globs) => `users ${list(globs)}`,
  labels: (globs) => `labels ${list(globs)}`,
  graphql: ({ types, names }) => describeBoth('graphql', ['types', types], ['names', names]),
  jsonrpc: ({ methods, tools }) => describeBoth('jsonrpc', ['methods', methods], ['tools', tools]),
};

/** Describes a condition in the words of the config file. */
function describeCondition<K extends ConditionName>(conditions: Pick<Conditions, K>, name: K): string {
  return words[name](conditions[name] as NonNullable<Conditions[K]>);
}

type Part = readonly [name: string, items: readonly (string | { readonly text: string })[] | null];

function describeBoth(name: string, ...parts: readonly Part[]): string {
  const given = parts.flatMap(([part, items]) => (items === null ? [] : [`${part} ${list(items)}`]));
  return [name, ...given].join(' ');
}

/** Formats a window: `mon, tue 09:00-17:30 Europe/Berlin` */
export function describeWindow({ from, to, weekdays, zone }: TimeWindow): string {
  const days = weekdays.length === 7 ? '' : `${weekdays.map((day) => weekdayNames[day]).join(' ')} `;
  return `${days}${clock(from)}-${clock(to)} ${zone}`;
}

function clock(minute: number): string {
  return [Math.floor(minute / 60), minute % 60].map((part) => String(part).padStart(2, '0')).join(':');
}
