import { type Authority, parseAuthority, type Scheme } from '../../../../src/proxy/policy/authority.ts';
import type { Policy } from '../../../../src/proxy/policy/decide.ts';
import {
  createDomainMap,
  type Domain,
  type DomainPattern,
  isPattern,
  parsePattern,
} from '../../../../src/proxy/policy/domain-map.ts';

/** The pattern that a text is; throws where it is none. */
export function patternOf(text: string): DomainPattern {
  const pattern = parsePattern(text);
  if (!isPattern(pattern)) throw new Error(`${text} ${pattern.problem}`);
  return pattern;
}

/** The authority that a text is; throws where it is none. */
export function authorityOf(text: string, scheme: Scheme = 'https'): Authority {
  const authority = parseAuthority(text, scheme);
  if (authority === null) throw new Error(`${text} is no authority`);
  return authority;
}

/** An entry of the map; one with a grant where nothing else is said. */
export function domainOf(
  text: string,
  action: Domain['action'] = { kind: 'grant', grant: 'acme', allowPlainHttp: false },
): Domain {
  return { pattern: patternOf(text), action, origin: `domains.${text}` };
}

/** A policy from texts, as the config file has them. */
export function policyOf(
  domains: Readonly<Record<string, Domain['action']>>,
  unmatched: Policy['unmatched'] = 'deny',
): Policy {
  return {
    domains: createDomainMap(Object.entries(domains).map(([text, action]) => domainOf(text, action))),
    unmatched,
  };
}
