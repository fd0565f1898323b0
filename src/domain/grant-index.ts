import type { Grant } from './grant.ts';

/**
 * Grants by the references of requests and domain entries. The cost of a call does not depend on the others.
 */
export interface GrantIndex {
  /**
   * Returns the grants that requests can choose by a reference: the most exact matches of each user, an ID
   * before a name before a provider. A grant of one user never hides those of another.
   */
  offered(reference: string): readonly Grant[];
  /** Reports whether `offered` returns a grant of this index. */
  isOffered(grant: Grant, reference: string): boolean;
}

/** Groups grants once. `offered` keeps their order. */
export function indexGrants(grants: readonly Grant[]): GrantIndex {
  const byReference = new Map<string, Grant[]>();
  const owners = new Map<string, string>();
  const names = new Set<string>();
  for (const grant of grants) {
    const { id, user, name, provider } = grant;
    owners.set(id, user);
    names.add(`${user}\n${name}`);
    for (const reference of new Set([id, name, provider])) {
      const some = byReference.get(reference);
      if (some === undefined) byReference.set(reference, [grant]);
      else some.push(grant);
    }
  }
  const isOffered = ({ id, user, name, provider }: Grant, reference: string): boolean => {
    if (id === reference) return true;
    if (owners.get(reference) === user) return false;
    return name === reference || (provider === reference && !names.has(`${user}\n${reference}`));
  };
  return {
    offered: (reference) => byReference.get(reference)?.filter((grant) => isOffered(grant, reference)) ?? [],
    isOffered,
  };
}
