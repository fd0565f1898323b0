import type { FailureCode } from '../errors.ts';
import { hasForm } from './form.ts';
import { methodOverride, type NamedMethod } from './method-override.ts';
import { isUnread, type ReadingProblem } from './path-reading.ts';
import { readRequest, type ReadRequest } from './read-request.ts';
import type { RequestFacts } from './request-facts.ts';
import { ruleFor } from './rule-words.ts';
import type { CompiledRule, DomainRules, RuleLimit, RuleOutcome, Step, Verdict } from './rule.ts';
import { strictest } from './strictest.ts';

/** What the rules of a domain say of a request, and why. */
export interface Ruling {
  readonly outcome: RuleOutcome;
  /** Where the rule stands that decided, with its line. */
  readonly rule: string;
  /** The name that the file gives it. */
  readonly ruleName: string | null;
  /** Of `approve`: what a person's yes is kept for, which changes when the rule does. Else null. */
  readonly approvalKey: string | null;
  /** The end of a sentence; nothing of the query and the body is in it. */
  readonly reason: string;
  /** Of a denial. */
  readonly code: FailureCode | null;
  readonly hint: string | null;
  /** What counts the request before it leaves; empty for a denial. */
  readonly limits: readonly RuleLimit[];
  /** Bytes of the response body; null: any. */
  readonly maxResponse: number | null;
  /** Each rule that was asked, in order, and last what decided. */
  readonly steps: readonly Step[];
  /**
   * Whether the ruling hangs on a body that was not read. It is then what would be if the body could not be read: read
   * it, and ask again.
   */
  readonly needsBody: boolean;
}

/** Asks the rules in turn. Never throws, whatever the facts. */
export function judge(domain: DomainRules, facts: RequestFacts): Ruling {
  if (domain.readsMethods) {
    const override = methodOverride(facts, domain);
    if (override.refused !== null) return twoMethods(domain, override.refused);
    const others = override.methods.filter(({ method }) => method !== facts.method);
    if (others.length > 0) {
      return others
        .map((named) => judgeAs(domain, facts, named))
        .reduce(strictest, judgeFirst(domain, facts));
    }
  }
  return judgeFirst(domain, facts);
}

/** Judges by the method of the request line. Before a person is asked, a form is read: it may name another method. */
function judgeFirst(domain: DomainRules, facts: RequestFacts): Ruling {
  const ruling = judgeOne(domain, facts);
  const isUnreadForm = facts.body === null && facts.contentLength !== 0 && hasForm(facts.contentType);
  return ruling.outcome === 'approve' && isUnreadForm ? { ...ruling, needsBody: true } : ruling;
}

/** Judges a request as one of the method that a parameter names. */
function judgeAs(domain: DomainRules, facts: RequestFacts, { method, parameter }: NamedMethod): Ruling {
  const ruling = judgeOne(domain, { ...facts, method });
  const reason = `${ruling.reason}, for some servers run it as ${method}, which the parameter ${parameter} names`;
  return { ...ruling, reason };
}

/** Asks the rules in turn, by the method of the facts. */
function judgeOne(domain: DomainRules, facts: RequestFacts): Ruling {
  const [pathField] = domain.readsPath ? facts.pathFields : [];
  if (pathField !== undefined) return twoPaths(domain, pathField);
  const request = readRequest(facts);
  const path = domain.readsPath ? request.path() : null;
  if (path !== null && isUnread(path)) return noReading(domain, 'path', path);
  const query = domain.readsQuery ? request.query() : null;
  if (query !== null && isUnread(query)) return noReading(domain, 'query', query);
  const steps: Step[] = [];
  let needsBody = false;
  for (const compiled of domain.rules) {
    const found = ask(compiled, request);
    steps.push(found.step);
    needsBody ||= found.needsBody;
    if (found.verdict === 'yes') return { ...settled(compiled, facts), steps, needsBody };
    if (found.verdict === 'unclear' && compiled.restricts) {
      return { ...unclear(compiled, found.step), steps, needsBody };
    }
  }
  const step: Step = {
    rule: domain.defaultOrigin,
    name: null,
    outcome: domain.default,
    verdict: 'yes',
    condition: null,
  };
  return { ...unmatched(domain, request), steps: [...steps, step], needsBody };
}

interface Answer {
  readonly verdict: Verdict;
  readonly step: Step;
  readonly needsBody: boolean;
}

function ask({ checks, matched }: CompiledRule, request: ReadRequest): Answer {
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
  return { verdict: step.verdict, step, needsBody };
}

type Settled = Omit<Ruling, 'steps' | 'needsBody'>;

function settled({ rule }: CompiledRule, { reason }: RequestFacts): Settled {
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
): Pick<Ruling, 'outcome' | 'approvalKey' | 'reason' | 'code' | 'hint' | 'limits' | 'maxResponse'> {
  const reason = `the request ${what}`;
  return { outcome: 'deny', approvalKey: null, reason, code, hint, limits: [], maxResponse: null };
}

/** A rule that restricts, and that nobody can tell whether it applies. */
function unclear({ rule }: CompiledRule, { condition }: Step): Settled {
  const hint = `ask for one thing at a time, in its plain form: ${rule.origin} is about ${condition}`;
  return {
    rule: rule.origin,
    ruleName: rule.name,
    ...denial('can be read in two ways, or only in part', hint),
  };
}

function unmatched(domain: DomainRules, request: ReadRequest): Settled {
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

function noReading(domain: DomainRules, part: 'path' | 'query', { problem, isLong }: ReadingProblem): Ruling {
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

function twoMethods(domain: DomainRules, override: string): Ruling {
  return violation(
    domain,
    `names its method in ${override} too, which some servers take for the method`,
    `send the method in the request line alone, without ${override}; the rules of ${domain.origin} judge methods`,
  );
}

function twoPaths(domain: DomainRules, override: string): Ruling {
  return violation(
    domain,
    `names a path in ${override} too, which some servers take for the path`,
    `send the request without ${override}; the rules of ${domain.origin} judge the path of the request line`,
  );
}

/** Refused before any rule is asked. */
function violation({ origin }: DomainRules, what: string, hint: string): Ruling {
  const ruled = { rule: origin, ruleName: null, steps: [], needsBody: false };
  return { ...ruled, ...denial(what, hint, 'policy_violation') };
}
