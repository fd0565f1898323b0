import type { FailureCode } from '../lib/failures.ts';
import { type Authority, authorityText, defaultPort } from './authority.ts';
import { type Domain, type DomainMap, type LeakGuard, matchesPattern } from './domain-map.ts';
import { evaluateRules, strictest } from './judge.ts';
import type { RequestFacts } from './request.ts';
import type { DomainRules, RuleOutcome, RuleResult, RuleStep } from './rule.ts';

/** Facts for decisions; replaced as a whole when the config changes. */
export interface Policy {
  readonly domains: DomainMap;
  readonly unmatched: 'deny' | 'tunnel';
}

/** Decision of policy on one request. */
export type Decision =
  /** `approve`: like `inject`, after an approval. */
  | ({ readonly outcome: 'inject' | 'approve' } & GrantUse & Permission)
  | ({ readonly outcome: 'tunnel' } & Permission)
  | (Denial & DecisionBase);

/** The grant for the credential of a request, and its settings. */
interface GrantUse {
  /** Id, name or provider of the grant. */
  readonly grant: string;
  /** True: the credential may be sent over plain `http`. */
  readonly allowPlainHttp: boolean;
  /** Treatment of responses that contain the credential. Default: `auto`. */
  readonly leakGuard?: LeakGuard | undefined;
  /**
   * Maximum number of responses per hour that contain the credential of one agent. Default: see
   * `createLeakLimit`.
   */
  readonly leakLimit?: number | undefined;
}

/** Refusal by policy. */
export interface Denial {
  readonly outcome: 'deny';
  readonly code: FailureCode;
  readonly reason: string;
  /** The exact command or config line that would allow the request. */
  readonly hint: string;
  readonly rule: string;
}

/** Fields of every decision. */
type DecisionBase = Pick<RuleResult, 'rule' | 'ruleName' | 'approvalKey' | 'reason' | 'needsBody'>;

/** Conditions under which a request may be forwarded. */
export interface Permission extends DecisionBase, Pick<RuleResult, 'limits' | 'maxResponse'> {
  /** `report`: rules are not enforced, and their result is recorded. */
  readonly mode: DomainRules['mode'];
  /** Result of the rules in report mode, unless it is `allow`. */
  readonly reported: ReportedOutcome | null;
}

/** Result of rules that are not enforced. */
export interface ReportedOutcome extends Pick<RuleResult, 'code' | 'reason' | 'hint'> {
  readonly outcome: Exclude<RuleOutcome, 'allow'>;
}

/** Fields of a decision without rules. */
const noRules = { ruleName: null, approvalKey: null, needsBody: false } as const;
/** Fields of a permission without rules. */
const unrestricted = { ...noRules, limits: [], maxResponse: null, mode: 'enforce', reported: null } as const;

/**
 * Decides on a complete request: by the entry of the domain map, then by its rules, which can only restrict
 * it. Pure and total. All requests that the same rule decides get the same frozen decision.
 *
 * @param steps takes each rule that was evaluated, in order; the last one decided
 */
export function decideRequest(
  policy: Policy,
  facts: RequestFacts,
  steps: RuleStep[] | null = null,
): Decision {
  const { authority } = facts;
  const domain = policy.domains.match(authority);
  if (domain === null) return decideUnmatched(policy, authority);
  const { action } = domain;
  if (action.kind !== 'grant' || isInsecure(action, authority)) return decideMatched(domain, authority);
  const { matched, rules, byResult } = compiledDomain(domain, action);
  if (rules === 'none') return matched;
  if (rules === 'several') return applyAll(action, matched, domain, facts, steps);
  const result = evaluateRules(rules, facts, steps);
  return byResult.get(result) ?? applyResult(action, result, rules.mode);
}

/** The entry of a domain with a grant. */
type GrantAction = Extract<Domain['action'], { readonly kind: 'grant' }>;

/** Decisions for all requests to a domain with a grant. */
interface CompiledDomain {
  /** The decision without rules. */
  readonly matched: Decision;
  /** The one set of rules. */
  readonly rules: DomainRules | 'none' | 'several';
  /** The decisions of the one set, by its compiled results. */
  readonly byResult: ReadonlyMap<RuleResult, Decision>;
}

const compiledDomains = new WeakMap<Domain, CompiledDomain>();

function compiledDomain(domain: Domain, action: GrantAction): CompiledDomain {
  let compiled = compiledDomains.get(domain);
  if (compiled === undefined) compiledDomains.set(domain, (compiled = compileDomain(domain, action)));
  return compiled;
}

function compileDomain(domain: Domain, action: GrantAction): CompiledDomain {
  const sets = [...(domain.rules === undefined ? [] : [domain.rules]), ...(domain.additionalRules ?? [])];
  const [first, ...more] = sets;
  const rules = first === undefined ? 'none' : more.length === 0 ? first : 'several';
  return {
    matched: Object.freeze(decideMatchedGrant(domain, action)),
    rules,
    byResult: typeof rules === 'string' ? new Map() : decisionsByResult(action, rules),
  };
}

function decisionsByResult(action: GrantAction, { results, defaultResult, mode }: DomainRules) {
  const all = defaultResult === null ? results : [...results, defaultResult];
  return new Map(all.map((result) => [result, Object.freeze(applyResult(action, result, mode))]));
}

/** Applies several sets of rules. Report mode does not affect the additional ones. */
function applyAll(
  action: GrantAction,
  matched: Decision,
  { rules, additionalRules = [] }: Domain,
  facts: RequestFacts,
  steps: RuleStep[] | null,
): Decision {
  const isReported = rules?.mode === 'report';
  // The steps are those of the rules that are enforced.
  const own = rules === undefined ? null : evaluateRules(rules, facts, isReported ? null : steps);
  const others = additionalRules.map((each) => evaluateRules(each, facts, steps));
  const [first, ...more] = own === null || isReported ? others : [own, ...others];
  const decided =
    first === undefined ? matched : applyResult(action, more.reduce(strictest, first), 'enforce');
  if (own === null || !isReported || decided.outcome === 'deny') return decided;
  const report = applyResult(action, own, 'report');
  return report.outcome === 'deny' ? decided : { ...decided, reported: report.reported };
}

function applyResult(
  { grant, allowPlainHttp, leakGuard, leakLimit }: GrantAction,
  { outcome, code, hint, limits, maxResponse, ...base }: RuleResult,
  mode: DomainRules['mode'],
): Decision {
  const use: GrantUse = { grant, allowPlainHttp, leakGuard, leakLimit };
  const permission: Permission = { ...base, limits, maxResponse, mode, reported: null };
  if (mode === 'report') {
    const reported = outcome === 'allow' ? null : { outcome, code, reason: base.reason, hint };
    return { outcome: 'inject', ...use, ...permission, reported };
  }
  switch (outcome) {
    case 'deny':
      return { outcome, code: code ?? 'rule_denied', hint: hint ?? `change ${base.rule}`, ...base };
    case 'tunnel':
      return { outcome, ...permission };
    case 'allow':
    case 'approve':
      return { outcome: outcome === 'allow' ? 'inject' : outcome, ...use, ...permission };
  }
}

/** Decides by the map without rules, for a known scheme: before or after a complete request. */
export function decide(policy: Policy, authority: Authority): Decision {
  const domain = policy.domains.match(authority);
  return domain === null ? decideUnmatched(policy, authority) : decideMatched(domain, authority);
}

/**
 * Decides on a CONNECT, which has no scheme: `https`, or `http` if only that matches the entry. Requests in
 * an intercepted tunnel are decided separately.
 */
export function decideConnect(policy: Policy, target: Authority): Decision {
  const plain: Authority = { ...target, scheme: 'http' };
  // Both schemes match the same entries, except that a default port also matches entries without a port.
  const domain = policy.domains.match(target.port === defaultPort.http ? plain : target);
  if (domain === null) return decideUnmatched(policy, target);
  return decideMatched(domain, matchesPattern(domain.pattern, target) ? target : plain);
}

function decideMatched(domain: Domain, authority: Authority): Decision {
  const rule = domain.origin;
  const { action } = domain;
  switch (action.kind) {
    case 'tunnel':
      return { ...unrestricted, outcome: 'tunnel', rule, reason: `${domain.pattern.text} is a tunnel` };
    case 'deny':
      return {
        ...noRules,
        outcome: 'deny',
        code: 'domain_not_allowed',
        reason: `${authorityText(authority)} is denied by the entry ${domain.pattern.text}`,
        hint: `remove or change ${domain.origin}`,
        rule,
      };
    case 'grant':
      if (!isInsecure(action, authority)) return compiledDomain(domain, action).matched;
      return {
        ...noRules,
        outcome: 'deny',
        code: 'insecure_transport',
        reason: `a credential for ${authorityText(authority)} would travel in the clear over http`,
        hint: `use https, or set "allow_plain_http: true" on ${domain.origin}`,
        rule,
      };
  }
}

function isInsecure({ allowPlainHttp }: GrantAction, { scheme }: Authority): boolean {
  return scheme === 'http' && !allowPlainHttp;
}

function decideMatchedGrant({ pattern, origin }: Domain, action: GrantAction): Decision {
  return {
    ...unrestricted,
    outcome: 'inject',
    grant: action.grant,
    allowPlainHttp: action.allowPlainHttp,
    leakGuard: action.leakGuard,
    leakLimit: action.leakLimit,
    rule: origin,
    reason: `${pattern.text} uses the grant ${action.grant}`,
  };
}

function decideUnmatched(policy: Policy, authority: Authority): Decision {
  const name = `${authority.host}${authority.port === defaultPort.https ? '' : `:${authority.port}`}`;
  if (policy.unmatched === 'tunnel') {
    return {
      ...unrestricted,
      outcome: 'tunnel',
      rule: 'proxy.unmatched_hosts',
      reason: `${name} is not listed, and unlisted hosts are tunnelled`,
    };
  }
  return {
    ...noRules,
    outcome: 'deny',
    code: 'domain_not_allowed',
    reason: `${name} is not in the allowed-domains map`,
    hint: `sidekey domain allow ${name} --grant NAME`,
    rule: 'proxy.unmatched_hosts',
  };
}
