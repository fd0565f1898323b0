import type { FailureCode } from '../errors.ts';
import { authorityText, defaultPort, type Authority } from './authority.ts';
import { matchesPattern, type Domain, type DomainMap } from './domain-map.ts';

/** What policy needs to know; one value, replaced whole when the config changes. */
export interface Policy {
  readonly domains: DomainMap;
  readonly unmatched: 'deny' | 'tunnel';
}

/** What policy says of one request, and why. */
export type Decision =
  | {
      readonly outcome: 'inject';
      /** Id, name or provider of the grant. */
      readonly grant: string;
      /** Whether the credential may go over plain `http`. */
      readonly insecure: boolean;
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

/** Decides on a request whose scheme is known. Pure: the same question has the same answer. */
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
      rule: 'proxy.unmatched',
      reason: `${name} is not listed, and unlisted hosts are tunnelled`,
    };
  }
  return {
    outcome: 'deny',
    code: 'domain_not_allowed',
    reason: `${name} is not in the allowed-domains map`,
    hint: `sidekey domain allow ${name} --grant NAME`,
    rule: 'proxy.unmatched',
  };
}
