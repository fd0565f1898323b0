import type { Grant } from './grant.ts';

/** What narrows the grants that a domain offers down to one. */
export interface Selection {
  /** What the domain names: an id, a name, or a provider. */
  readonly reference: string;
  /** The caller's own choice among what the domain offers: an id, a name, or a provider. */
  readonly grant?: string | null | undefined;
  /** The user whose grant the caller asks for. */
  readonly user?: string | null | undefined;
}

/** The state of a selected grant is not looked at here: it may be expired or revoked. */
export type Selected =
  | { readonly kind: 'selected'; readonly grant: Grant }
  | { readonly kind: 'ambiguous'; readonly candidates: readonly Grant[] }
  | { readonly kind: 'missing' };

/**
 * Picks the grant that a request uses, from those that match the domain's reference (see `Registry.find`). A selector
 * chooses among them and never reaches beyond them. An exact id or name goes before a provider of that name.
 */
export function selectGrant(candidates: readonly Grant[], selection: Selection): Selected {
  const { reference, grant, user } = selection;
  const offered = candidates.filter(
    (candidate) => matches(candidate, reference) && (user == null || candidate.user === user),
  );
  const left = nearest(offered, grant ?? reference);
  const [only, ...more] = left;
  if (only === undefined) return { kind: 'missing' };
  return more.length === 0 ? { kind: 'selected', grant: only } : { kind: 'ambiguous', candidates: left };
}

/** Whether a reference stands for this grant: by its id, its name, or its provider. */
export function matches(grant: Grant, reference: string): boolean {
  return grant.id === reference || grant.name === reference || grant.provider === reference;
}

function nearest(grants: readonly Grant[], reference: string): readonly Grant[] {
  for (const key of ['id', 'name', 'provider'] as const) {
    const left = grants.filter((grant) => grant[key] === reference);
    if (left.length > 0) return left;
  }
  return [];
}
