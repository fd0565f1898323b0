import type { FailureCode } from '../../lib/failures.ts';
import { type Authority, authorityText, defaultPort, ownHost } from './authority.ts';
import { type Domain, type DomainMap, type GrantUse, matchesPattern, type PatternMap } from './domain-map.ts';
import { evaluateRules, strictest } from './judge.ts';
import type { RequestFacts } from './request.ts';
import type { DomainRules, RuleOutcome, RuleResult, RuleStep } from './rule.ts';
import { type Hint, hintOf, remedy } from '../../lib/hint.ts';
import { untrusted } from '../../lib/text.ts';

/** Facts for decisions. Replaced as a whole when the config changes. */
export interface Policy {
  readonly domains: DomainMap;
  readonly unmatched: 'deny' | 'tunnel';
}

/** The rule of decisions on hosts that no entry of the map covers. */
export const unlistedRule = 'proxy.unmatched';

/** A decision of the policy on a request. */
export type Decision =
  /** `approve`: like `inject`, after an approval. */
  | ({ readonly outcome: 'inject' | 'approve' } & GrantUse & Permission)
  | ({ readonly outcome: 'tunnel' } & Permission)
  | (Denial & DecisionBase);

/** End of hints: how an agent proposes a change that a person may make. */
export const howToPropose = `an agent proposes it: POST http://${ownHost}/proposals`;

/** A refusal by policy. */
export interface Denial {
  readonly outcome: 'deny';
  readonly code: FailureCode;
  readonly reason: string;
  /** The exact command or config line that would allow the request. */
  readonly hint: Hint;
  readonly rule: string;
}

/** Fields of every decision. */
type DecisionBase = Pick<RuleResult, 'rule' | 'ruleName' | 'approvalKey' | 'reason' | 'needsBody'>;

/** Conditions for forwarding a request. */
export interface Permission extends DecisionBase, Pick<RuleResult, 'limits' | 'maxResponse'> {
  /** Protocols besides WebSocket that the request may switch to; null: any. */
  readonly upgrades: RuleResult['upgrades'] | null;
  /** `report`: the result of the rules is recorded, but not enforced. */
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
const unrestricted = {
  ...noRules,
  limits: [],
  maxResponse: null,
  upgrades: null,
  mode: 'enforce',
  reported: null,
} as const;

/**
 * Decides on a complete request by the entry of the domain map, and by its rules, which can only restrict.
 * Pure and total. All requests that the same rule decides get the same frozen decision.
 *
 * @param steps receives each evaluated rule, in order; the last one decided
 */
export function decideRequest(
  policy: Policy,
  facts: RequestFacts,
  steps: RuleStep[] | null = null,
): Decision {
  const decision = decideByRules(policy, facts, steps);
  return facts.protocols === undefined ? decision : decideUpgrade(decision, facts.protocols, facts.authority);
}

/** Denies a switch to a protocol that the deciding rule does not list: its bytes would pass unread. */
function decideUpgrade(decision: Decision, protocols: readonly string[], authority: Authority): Decision {
  if (decision.outcome === 'deny' || decision.upgrades === null) return decision;
  const listed = decision.upgrades.map((name) => name.toLowerCase());
  const refused = protocols.find((name) => !listed.includes(name.toLowerCase()));
  if (refused === undefined) return decision;
  const { rule, ruleName, needsBody } = decision;
  const name = untrusted(refused.slice(0, 40));
  return {
    outcome: 'deny',
    code: 'upgrade_denied',
    reason: `no rule allows the request to ${authorityText(authority)} to switch to the protocol ${name}`,
    hint: `list it in the rule that allows the request: upgrades: [${name}]; now ${rule} decides`,
    rule,
    ruleName,
    approvalKey: null,
    needsBody,
  };
}

function decideByRules(policy: Policy, facts: RequestFacts, steps: RuleStep[] | null): Decision {
  const { authority } = facts;
  const domain = policy.domains.match(authority);
  if (domain === null) return decideUnmatched(policy, authority);
  const { action } = domain;
  if (action.kind !== 'grant' || isInsecure(action, authority)) return decideMatched(domain, authority);
  const compiled = compiledDomain(domain, action);
  const [rules, others] = compiled.sets;
  if (rules === undefined) return compiled.matched;
  if (others !== undefined) return decideByAll(compiled, action, facts, steps);
  const result = evaluateRules(rules, facts, steps);
  return compiled.byResult.get(result) ?? applyResult(action, result, rules.mode);
}

/** The entry of a domain with a grant. */
type GrantAction = Extract<Domain['action'], { readonly kind: 'grant' }>;

/** Decisions for all requests to a domain with a grant. */
interface CompiledDomain {
  /** The decision without rules. */
  readonly matched: Decision;
  /** All sets of rules: the domain's, then the additional ones. */
  readonly sets: readonly DomainRules[];
  /** True if the first set is in report mode, which does not affect the others. */
  readonly isReported: boolean;
  /** Decisions of one set, by its compiled results. */
  readonly byResult: ReadonlyMap<RuleResult, Decision>;
  /** Decisions of two sets so far, by their compiled results; at most `mostPairs`. */
  readonly byPair: Map<RuleResult, Map<RuleResult, Decision>>;
  pairs: number;
}

const mostPairs = 1_000;

const compiledDomains = new WeakMap<Domain, CompiledDomain>();

function compiledDomain(domain: Domain, action: GrantAction): CompiledDomain {
  let compiled = compiledDomains.get(domain);
  if (compiled === undefined) compiledDomains.set(domain, (compiled = compileDomain(domain, action)));
  return compiled;
}

function compileDomain(domain: Domain, action: GrantAction): CompiledDomain {
  const { rules, additionalRules = [] } = domain;
  const sets = rules === undefined ? additionalRules : [rules, ...additionalRules];
  const [first, second] = sets;
  return {
    matched: Object.freeze(decideMatchedGrant(domain, action)),
    sets,
    isReported: rules?.mode === 'report',
    byResult: first === undefined || second !== undefined ? new Map() : decisionsByResult(action, first),
    byPair: new Map(),
    pairs: 0,
  };
}

function decisionsByResult(action: GrantAction, { results, defaultResult, mode }: DomainRules) {
  const all = defaultResult === null ? results : [...results, defaultResult];
  return new Map(all.map((result) => [result, Object.freeze(applyResult(action, result, mode))]));
}

/** Decides by several sets of rules. */
function decideByAll(
  compiled: CompiledDomain,
  action: GrantAction,
  facts: RequestFacts,
  steps: RuleStep[] | null,
): Decision {
  const { sets, isReported, byPair } = compiled;
  // Records only steps of enforced rules.
  const first = evaluateRules(sets[0]!, facts, isReported ? null : steps);
  const second = evaluateRules(sets[1]!, facts, steps);
  if (sets.length > 2) {
    const more = sets.slice(2).map((each) => evaluateRules(each, facts, steps));
    return combine(action, isReported, first, [second, ...more]);
  }
  const cached = byPair.get(first)?.get(second);
  if (cached !== undefined) return cached;
  const decision = combine(action, isReported, first, [second]);
  if (!Object.isFrozen(first) || !Object.isFrozen(second) || compiled.pairs >= mostPairs) return decision;
  let bySecond = byPair.get(first);
  if (bySecond === undefined) byPair.set(first, (bySecond = new Map()));
  bySecond.set(second, Object.freeze(decision));
  compiled.pairs += 1;
  return decision;
}

/** Combines the results of several sets. @param isReported true if the first one is not enforced */
function combine(
  action: GrantAction,
  isReported: boolean,
  first: RuleResult,
  others: readonly RuleResult[],
): Decision {
  const enforced = isReported ? others : [first, ...others];
  const decided = applyResult(action, enforced.reduce(strictest), 'enforce');
  if (!isReported || decided.outcome === 'deny') return decided;
  const report = applyResult(action, first, 'report');
  return report.outcome === 'deny' ? decided : { ...decided, reported: report.reported };
}

function applyResult(
  action: GrantAction,
  { outcome, code, hint, limits, maxResponse, upgrades, ...base }: RuleResult,
  mode: DomainRules['mode'],
): Decision {
  const use = useOf(action);
  const permission: Permission = { ...base, limits, maxResponse, upgrades, mode, reported: null };
  if (mode === 'report') {
    const reported = outcome === 'allow' ? null : { outcome, code, reason: base.reason, hint };
    return { outcome: 'inject', ...use, ...permission, upgrades: null, reported };
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

function useOf(action: GrantAction): GrantUse {
  const { grant, allowPlainHttp, leakGuard, leakLimit, foreignCredentials, also, mints } = action;
  return { grant, allowPlainHttp, leakGuard, leakLimit, foreignCredentials, also, mints };
}

/** Decides by the map without rules, for a known scheme: before or after a complete request. */
export function decide(policy: Policy, authority: Authority): Decision {
  const domain = policy.domains.match(authority);
  return domain === null ? decideUnmatched(policy, authority) : decideMatched(domain, authority);
}

/**
 * Decides on a CONNECT, which has no scheme: `https`, or `http` if only that matches the entry. Requests
 * inside an intercepted tunnel are decided separately.
 */
export function decideConnect(policy: Policy, target: Authority): Decision {
  const domain = connectDomain(policy, target);
  if (domain === null) return decideUnmatched(policy, target);
  const isMatched = matchesPattern(domain.pattern, target);
  return decideMatched(domain, isMatched ? target : { ...target, scheme: 'http' });
}

/** Returns the entry of the map for a CONNECT, or null. */
export function connectDomain<T extends Domain>(
  { domains }: { readonly domains: PatternMap<T> },
  target: Authority,
): T | null {
  // Both schemes match the same entries, but a default port also matches entries without a port.
  return domains.match(target.port === defaultPort.http ? { ...target, scheme: 'http' } : target);
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
    upgrades: [],
    ...useOf(action),
    rule: origin,
    reason: `${pattern.text} uses the grant ${action.grant}`,
  };
}

function decideUnmatched(policy: Policy, authority: Authority): Decision {
  const host = authorityText(authority);
  if (policy.unmatched === 'tunnel') {
    return {
      ...unrestricted,
      outcome: 'tunnel',
      rule: unlistedRule,
      reason: `${host} is not listed, and unlisted hosts are tunnelled`,
    };
  }
  return {
    ...noRules,
    outcome: 'deny',
    code: 'domain_not_allowed',
    reason: `${host} is not in the allowed-domains map`,
    hint: unlistedHint(host),
    rule: unlistedRule,
  };
}

/**
 * Returns the hint for a host that no entry covers. The caller may be an agent that may not know the map.
 *
 * @param near the entry that almost covers it, and what helps
 */
export function unlistedHint(host: string, near: Hint | null = null): Hint {
  const tunnel = hintOf`${remedy('domain.tunnel', { host })} (no credential)`;
  const ways =
    near === null
      ? hintOf`${tunnel}, or ${remedy('domain.allow', { host, grant: null })}`
      : hintOf`${near}; or ${tunnel}`;
  return hintOf`${ways}; ${howToPropose}`;
}
