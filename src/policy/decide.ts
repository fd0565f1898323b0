import type { FailureCode } from '../lib/errors.ts';
import { type Authority, authorityText, defaultPort } from './authority.ts';
import { type Domain, type DomainMap, matchesPattern } from './domain-map.ts';
import { judge, type Ruling, strictest } from './judge.ts';
import type { EchoGuard } from './leak-guard.ts';
import type { RequestFacts } from './request.ts';
import type { DomainRules, RuleLimit, RuleOutcome, Step } from './rule.ts';

/** What policy needs to know; one value, replaced whole when the config changes. */
export interface Policy {
  readonly domains: DomainMap;
  readonly unmatched: 'deny' | 'tunnel';
}

/** What policy says of one request, and why. */
type Decision =
  | {
      readonly outcome: 'inject';
      /** Id, name or provider of the grant. */
      readonly grant: string;
      /** Whether the credential may go over plain `http`. */
      readonly insecure: boolean;
      /** What becomes of responses that show the credential; absent: `auto`. */
      readonly leakGuard?: EchoGuard | undefined;
      /** Echoes an hour that an agent gets; absent: the usual number. */
      readonly leakLimit?: number | undefined;
      readonly rule: string;
      readonly reason: string;
    }
  | { readonly outcome: 'tunnel'; readonly rule: string; readonly reason: string }
  | Denial;

/** Policy says no. */
export interface Denial {
  readonly outcome: 'deny';
  readonly code: FailureCode;
  readonly reason: string;
  /** The exact command or config line that would allow it. */
  readonly hint: string;
  readonly rule: string;
}

/** What every decision on a whole request says besides its outcome. */
interface Judged {
  /** Where the entry, the rule or the default stands that decided, with its line. */
  readonly rule: string;
  /** The name that the file gives the rule; null: it gives none, or no rule decided. */
  readonly ruleName: string | null;
  /** Of `approve`: what a person's yes is kept for, which changes when the rule does. Else null. */
  readonly approvalKey: string | null;
  readonly reason: string;
  /** Each rule that was asked, in order, and last what decided; empty where the domain has no rules. */
  readonly steps: readonly Step[];
  /**
   * Whether the decision hangs on a body that was not read. It is then what it would be if the body could not be read:
   * read it (`readBodyFacts`), and ask again.
   */
  readonly needsBody: boolean;
}

/** What holds for a request that may go on. */
export interface Obligations {
  /** What has to be counted before the request leaves. */
  readonly limits: readonly RuleLimit[];
  /** Bytes of the response body that may come back; null: any. */
  readonly maxResponse: number | null;
  /** `report`: nothing is refused, held or limited for the sake of a rule; what would have been is recorded. */
  readonly mode: DomainRules['mode'];
  /** In report mode, what the rules say where that is not `allow`. */
  readonly reported: Reported | null;
}

/** What rules would have done. */
export interface Reported {
  readonly outcome: Exclude<RuleOutcome, 'allow'>;
  /** Of a denial. */
  readonly code: FailureCode | null;
  readonly reason: string;
  readonly hint: string | null;
}

/** What policy says of a whole request, rules included. */
export type RequestDecision =
  | ({
      /** `approve`: as `inject`, once a person has agreed. */
      readonly outcome: 'inject' | 'approve';
      /** Id, name or provider of the grant. */
      readonly grant: string;
      /** Whether the credential may go over plain `http`. */
      readonly insecure: boolean;
      /** What becomes of responses that show the credential; absent: `auto`. */
      readonly leakGuard?: EchoGuard | undefined;
      /** Echoes an hour that an agent gets; absent: the usual number. */
      readonly leakLimit?: number | undefined;
    } & Judged &
      Obligations)
  | ({ readonly outcome: 'tunnel' } & Judged & Obligations)
  | (Denial & Judged);

/**
 * Decides on a whole request: first the entry of the map, as `decide`, then its rules, which can only take away from what
 * the entry gives. Pure, and total: every request has an answer.
 */
export function decideRequest(policy: Policy, facts: RequestFacts): RequestDecision {
  const { authority } = facts;
  const domain = policy.domains.match(authority);
  const decision = domain === null ? decideUnmatched(policy, authority) : decideMatched(domain, authority);
  if (domain === null || decision.outcome !== 'inject') return { ...decision, ...unruled };
  return withRules(decision, domain, facts);
}

/** Rules that only report are not asked to pass; what is besides them enforces all the same. */
function withRules(
  decision: Extract<Decision, { outcome: 'inject' }>,
  { rules, besides = [] }: Domain,
  facts: RequestFacts,
): RequestDecision {
  const others = besides.map((each) => judge(each, facts));
  const own = rules === undefined ? null : judge(rules, facts);
  const enforced = own === null || rules?.mode === 'report' ? others : [own, ...others];
  const [first, ...more] = enforced;
  const decided = first === undefined ? null : withRuling(decision, more.reduce(strictest, first), 'enforce');
  if (own === null || rules?.mode !== 'report') return decided ?? { ...decision, ...unruled };
  const report = withRuling(decision, own, 'report');
  if (decided === null) return report;
  if (decided.outcome === 'deny' || report.outcome === 'deny') return decided;
  return { ...decided, reported: report.reported };
}

const unruled = {
  ruleName: null,
  approvalKey: null,
  steps: [],
  needsBody: false,
  limits: [],
  maxResponse: null,
  mode: 'enforce',
  reported: null,
} as const satisfies Omit<Judged & Obligations, 'rule' | 'reason'>;

function withRuling(
  { grant, insecure, leakGuard, leakLimit }: Extract<Decision, { outcome: 'inject' }>,
  ruling: Ruling,
  mode: DomainRules['mode'],
): RequestDecision {
  const { outcome, code, hint, rule, ruleName, approvalKey, reason, steps, needsBody, limits, maxResponse } =
    ruling;
  const judged: Judged = { rule, ruleName, approvalKey, reason, steps, needsBody };
  const given = { limits, maxResponse, mode };
  if (mode === 'report') {
    const reported = outcome === 'allow' ? null : { outcome, code, reason, hint };
    return { outcome: 'inject', grant, insecure, leakGuard, leakLimit, ...judged, ...given, reported };
  }
  switch (outcome) {
    case 'deny':
      return { outcome, code: code ?? 'rule_denied', hint: hint ?? `change ${rule}`, ...judged };
    case 'tunnel':
      return { outcome, ...judged, ...given, reported: null };
    case 'allow':
    case 'approve':
      return {
        outcome: outcome === 'allow' ? 'inject' : outcome,
        grant,
        insecure,
        leakGuard,
        leakLimit,
        ...judged,
        ...given,
        reported: null,
      };
  }
}

/**
 * Decides on a request whose scheme is known, by the map alone: rules are not asked. For what is not a request yet, or
 * no longer one.
 */
export function decide(policy: Policy, authority: Authority): Decision {
  const domain = policy.domains.match(authority);
  return domain === null ? decideUnmatched(policy, authority) : decideMatched(domain, authority);
}

/**
 * Decides on a CONNECT, which names no scheme: `https`, and plain `http` where only that reading meets the entry.
 * What comes through an intercepted tunnel is decided anew, request by request.
 */
export function decideConnect(policy: Policy, target: Authority): Decision {
  const plain: Authority = { ...target, scheme: 'http' };
  // Each scheme meets whatever the other does, except that its default port also meets entries without a port.
  const domain = policy.domains.match(target.port === defaultPort.http ? plain : target);
  if (domain === null) return decideUnmatched(policy, target);
  return decideMatched(domain, matchesPattern(domain.pattern, target) ? target : plain);
}

function decideMatched(domain: Domain, authority: Authority): Decision {
  const rule = domain.origin;
  const { action } = domain;
  switch (action.kind) {
    case 'tunnel':
      return { outcome: 'tunnel', rule, reason: `${domain.pattern.text} is a tunnel` };
    case 'deny':
      return {
        outcome: 'deny',
        code: 'domain_not_allowed',
        reason: `${authorityText(authority)} is denied by the entry ${domain.pattern.text}`,
        hint: `remove or change ${domain.origin}`,
        rule,
      };
    case 'grant':
      if (authority.scheme === 'http' && !action.insecure) {
        return {
          outcome: 'deny',
          code: 'insecure_transport',
          reason: `a credential for ${authorityText(authority)} would travel in the clear over http`,
          hint: `use https, or set "insecure: true" on ${domain.origin}`,
          rule,
        };
      }
      return {
        outcome: 'inject',
        grant: action.grant,
        insecure: action.insecure,
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
      outcome: 'tunnel',
      rule: 'proxy.unmatched_hosts',
      reason: `${name} is not listed, and unlisted hosts are tunnelled`,
    };
  }
  return {
    outcome: 'deny',
    code: 'domain_not_allowed',
    reason: `${name} is not in the allowed-domains map`,
    hint: `sidekey domain allow ${name} --grant NAME`,
    rule: 'proxy.unmatched_hosts',
  };
}
