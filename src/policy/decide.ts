import type { FailureCode } from '../lib/failures.ts';
import { type Authority, authorityText, defaultPort } from './authority.ts';
import { type Domain, type DomainMap, type LeakGuard, matchesPattern } from './domain-map.ts';
import { evaluateRules, type RuleResult, strictest } from './judge.ts';
import type { RequestFacts } from './request.ts';
import type { DomainRules, RuleOutcome } from './rule.ts';

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

/** Fields of every decision. `steps` is empty if the domain has no rules. */
type DecisionBase = Pick<RuleResult, 'rule' | 'ruleName' | 'approvalKey' | 'reason' | 'steps' | 'needsBody'>;

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
const noRules = { ruleName: null, approvalKey: null, steps: [], needsBody: false } as const;
/** Fields of a permission without rules. */
const unrestricted = { ...noRules, limits: [], maxResponse: null, mode: 'enforce', reported: null } as const;

/**
 * Decides on a complete request: by the entry of the domain map, then by its rules, which can only restrict
 * it. Pure and total.
 */
export function decideRequest(policy: Policy, facts: RequestFacts): Decision {
  const { authority } = facts;
  const domain = policy.domains.match(authority);
  if (domain === null) return decideUnmatched(policy, authority);
  const decision = decideMatched(domain, authority);
  return decision.outcome === 'inject' ? applyRules(decision, domain, facts) : decision;
}

/** Applies the rules. Report mode does not affect the additional rules. */
function applyRules(
  decision: GrantUse & Decision,
  { rules, additionalRules = [] }: Domain,
  facts: RequestFacts,
): Decision {
  const others = additionalRules.map((each) => evaluateRules(each, facts));
  const own = rules === undefined ? null : evaluateRules(rules, facts);
  const enforced = own === null || rules?.mode === 'report' ? others : [own, ...others];
  const [first, ...more] = enforced;
  const decided =
    first === undefined ? null : applyResult(decision, more.reduce(strictest, first), 'enforce');
  if (own === null || rules?.mode !== 'report') return decided ?? decision;
  const report = applyResult(decision, own, 'report');
  if (decided === null) return report;
  if (decided.outcome === 'deny' || report.outcome === 'deny') return decided;
  return { ...decided, reported: report.reported };
}

function applyResult(
  { grant, allowPlainHttp, leakGuard, leakLimit }: GrantUse,
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
      if (authority.scheme === 'http' && !action.allowPlainHttp) {
        return {
          ...noRules,
          outcome: 'deny',
          code: 'insecure_transport',
          reason: `a credential for ${authorityText(authority)} would travel in the clear over http`,
          hint: `use https, or set "allow_plain_http: true" on ${domain.origin}`,
          rule,
        };
      }
      return {
        ...unrestricted,
        outcome: 'inject',
        grant: action.grant,
        allowPlainHttp: action.allowPlainHttp,
        leakGuard: action.leakGuard,
        leakLimit: action.leakLimit,
        rule,
        reason: `${domain.pattern.text} uses the grant ${action.grant}`,
      };
  }
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
