import type { Grant } from '../../grants/grant.ts';
import { selectGrant } from '../../grants/select-grant.ts';
import type { Domain } from '../../policy/domain-map.ts';

/** The grants that a domain offers to its requests; several where only a selector can tell which is meant. */
export function offeredBy({ action }: Domain, grants: readonly Grant[]): readonly Grant[] {
  return action.kind === 'grant' ? standingFor(action.grant, grants) : [];
}

/** The grants that a reference stands for. */
export function standingFor(reference: string, grants: readonly Grant[]): readonly Grant[] {
  const selected = selectGrant(grants, { reference });
  switch (selected.kind) {
    case 'selected':
      return [selected.grant];
    case 'ambiguous':
      return selected.candidates;
    case 'missing':
      return [];
  }
}

/** The domains whose requests a grant is offered to, alone or among others. */
export function domainsOf(
  grant: Grant,
  grants: readonly Grant[],
  domains: readonly Domain[],
): readonly Domain[] {
  return domains.filter((domain) => offeredBy(domain, grants).some(({ id }) => id === grant.id));
}

/** The same grants, those that a domain offers first, in the order of the domains: the others open nothing by themselves. */
export function offeredFirst(domains: readonly Domain[], grants: readonly Grant[]): readonly Grant[] {
  return [...new Set([...domains.flatMap((domain) => offeredBy(domain, grants)), ...grants])];
}
