import type { Config } from '../config/config.ts';
import { type Hint, remedy } from '../lib/hint.ts';
import { type Authority, authorityText, defaultPort } from '../proxy/policy/authority.ts';
import { createDomainMap, matchesPattern } from '../proxy/policy/domain-map.ts';

/** An entry with a grant that covers the host of a request at another port only. */
interface NearEntry {
  readonly pattern: string;
  /** The action that adds the port. */
  readonly hint: Hint;
}

/** Returns such an entry; null: there is none, or an entry covers the request. */
export function nearEntry(
  { domains, providers }: Pick<Config, 'domains' | 'providers'>,
  authority: Authority,
): NearEntry | null {
  if (createDomainMap(domains).match(authority) !== null) return null;
  for (const { pattern, action } of domains) {
    const port = pattern.port ?? defaultPort[authority.scheme];
    if (action.kind !== 'grant' || !matchesPattern(pattern, { ...authority, port })) continue;
    const [{ grant }, host] = [action, authorityText(authority)];
    const isOf = (name: string) => providers.get(name)?.audience.includes(pattern.text) === true;
    const of = providers.names.includes(grant) ? grant : (providers.own.find(isOf) ?? null);
    const name = of === grant ? undefined : grant;
    const more = { allowed_domains: host, widen: true, replace: true };
    return { pattern: pattern.text, hint: remedy('connect', { provider: of, name, ...more }) };
  }
  return null;
}
