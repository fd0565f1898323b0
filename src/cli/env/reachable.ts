import type { Grant } from '../../grants/grant.ts';
import type { Domain } from '../../policy/domain-map.ts';
import { offeredBy } from '../grant/offered.ts';

/**
 * Names of the providers of which a caller gets a credential: some domain offers a grant of it, and it is among the
 * caller's own.
 */
export function reachableProviders(
  domains: readonly Domain[],
  grants: readonly Grant[],
): ReadonlySet<string> {
  return new Set(domains.flatMap((domain) => offeredBy(domain, grants)).map(({ provider }) => provider));
}
