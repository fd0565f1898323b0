import { defaultUser, type Grant } from './grant.ts';

/**
 * A lease: a right of one agent to use named grants, for a while. Its clock is apart from the clocks of the grants'
 * tokens. Pure: the state of a lease follows from its values and the time. All times are milliseconds since the epoch.
 */

export interface Lease {
  /** UUID. */
  readonly id: string;
  /** Name of the agent; a lease is limited to the grants of its agent. */
  readonly agent: string;
  /** Ids of the grants that it was made for; null: all grants of its agent, also later ones. */
  readonly grants: readonly string[] | null;
  /** Hosts without a credential to which it is limited, as patterns; absent: those of its agent. */
  readonly egress?: readonly string[] | undefined;
  /** One sentence by its creator. */
  readonly purpose: string;
  readonly createdAt: number;
  readonly expiresAt: number;
  /** It ends when it was not used for so long; null: it does not. */
  readonly idleMs: number | null;
  /** Null: it was never renewed. */
  readonly renewedAt: number | null;
  /** The last request under it, to about a minute (to a quarter of `idleMs`, where that is less); null: none yet. */
  readonly usedAt: number | null;
  /** Maximum number of requests that get a credential; null: no maximum. */
  readonly maxUses: number | null;
  /** Number of requests that got one. Counted only with a maximum. */
  readonly uses: number;
  readonly revokedAt: number | null;
}

/** Reports whether a lease was made for a grant. It cannot use grants that its agent cannot use. */
export function isLeaseFor({ grants }: Pick<Lease, 'grants'>, grantId: string): boolean {
  return grants === null || grants.includes(grantId);
}

/** State of a lease at one moment. Only an `active` one lets a request through. */
export type LeaseStanding =
  /** `endsAt`: when it ends if it is not used or renewed before. */
  | { readonly state: 'active'; readonly endsAt: number }
  | { readonly state: 'expired'; readonly why: 'ttl' | 'idle'; readonly at: number }
  | { readonly state: 'used_up' }
  | { readonly state: 'revoked'; readonly at: number };

/** Returns the state of a lease at `now`. A revocation has precedence over an expiry. The lease ends at `expiresAt`. */
export function leaseStanding(lease: Lease, now: number): LeaseStanding {
  if (lease.revokedAt !== null) return { state: 'revoked', at: lease.revokedAt };
  const idleAt = idleEndOf(lease);
  const at = Math.min(lease.expiresAt, idleAt);
  if (now >= at) return { state: 'expired', why: idleAt < lease.expiresAt ? 'idle' : 'ttl', at };
  if (lease.maxUses !== null && lease.uses >= lease.maxUses) return { state: 'used_up' };
  return { state: 'active', endsAt: at };
}

function idleEndOf({ idleMs, createdAt, renewedAt, usedAt }: Lease): number {
  if (idleMs === null) return Number.POSITIVE_INFINITY;
  return Math.max(createdAt, renewedAt ?? 0, usedAt ?? 0) + idleMs;
}

/** Lifetimes of leases that one level (config, provider, grant) sets, in milliseconds; null: not set. */
interface LeaseTtl {
  readonly defaultMs: number | null;
  readonly maxMs: number | null;
}

/** A level with its name, for people: `the grant work`. */
export interface LeaseTtlLevel extends LeaseTtl {
  readonly of: string;
}

/** Lifetime of a lease. */
export interface GrantedTtl {
  readonly ttlMs: number;
  /** The level whose maximum is less than the requested time; null: none is. */
  readonly cappedBy: string | null;
}

/**
 * Returns the lifetime of a lease. For each of its grants the levels are given, the nearest to the grant first: the
 * nearest default counts, while of all maxima the least one does. The shortest time of several grants applies to the
 * lease.
 *
 * @param asked milliseconds; null: whatever is usual
 * @param usual the grants whose defaults count
 */
export function grantedTtl(
  asked: number | null,
  grants: readonly (readonly LeaseTtlLevel[])[],
  usual = grants,
): GrantedTtl {
  const defaults = usual.flatMap(
    (levels) => levels.find(({ defaultMs }) => defaultMs !== null)?.defaultMs ?? [],
  );
  const wanted = asked ?? Math.min(...defaults);
  let granted: GrantedTtl = { ttlMs: wanted, cappedBy: null };
  for (const { of, maxMs } of grants.flat()) {
    if (maxMs !== null && maxMs < granted.ttlMs) granted = { ttlMs: maxMs, cappedBy: of };
  }
  return granted;
}

/**
 * Selects the grants that an agent reaches. Bindings add up; an agent without any reaches nothing. Those by provider,
 * user and label also stand for grants that are yet to come.
 *
 * - `grant`: the one of this id.
 * - `provider`, `user`, `label`: every grant that has it.
 * - `everything`: all grants; its value is `*`.
 * - `egress`: no grant; its value is a host that the agent may use without a credential. One such binding excludes all other
 *   such hosts.
 */
export interface Binding {
  readonly kind: 'grant' | 'provider' | 'user' | 'label' | 'everything' | 'egress';
  readonly value: string;
}

/** Everything that any domain offers: what agents had before there were bindings. */
export const everything: Binding = { kind: 'everything', value: '*' };

/** The facts of a grant by which bindings select it. */
export type BoundGrant = Pick<Grant, 'id' | 'user' | 'provider' | 'lease'>;

/**
 * Reports whether a binding of an agent reaches a grant. An agent that acts for a user reaches grants of other users only where
 * they are named, by id or by user: `provider github` of an agent for alice is alice's GitHub, not everybody's.
 *
 * @param actsFor the user that the agent acts for; null: nobody in particular
 * @param labels of the grant
 */
function bindingReaches(
  binding: Binding,
  actsFor: string | null,
  grant: BoundGrant,
  labels: readonly string[],
): boolean {
  const isOwn = actsFor === null || grant.user === actsFor;
  switch (binding.kind) {
    case 'grant':
      return grant.id === binding.value;
    case 'user':
      return grant.user === binding.value;
    case 'provider':
      return isOwn && grant.provider === binding.value;
    case 'label':
      return isOwn && labels.includes(binding.value);
    case 'everything':
      return true;
    case 'egress':
      return false;
  }
}

/** Reports whether any of an agent's bindings reaches a grant; see `bindingReaches`. None reaches a grant of a lease. */
export function reachesGrant(
  bindings: readonly Binding[],
  actsFor: string | null,
  grant: BoundGrant,
  labels: readonly string[],
): boolean {
  return grant.lease === null && bindings.some((binding) => bindingReaches(binding, actsFor, grant, labels));
}

/** A caller without a token. */
export const anonymous = { bindings: [], user: null, lease: null };

/** The places of grants, in the order in which a request looks for one that fits. */
export const places = [0, 1, 2, 3] as const;

/**
 * Returns the place of a grant that a caller reaches, for requests that name no user; null: they never use the grant.
 * Users add grants by themselves, so a grant of another user has a place only if an operator named that grant, or that
 * user alone. What one user adds or removes thus changes nothing for callers of the others.
 *
 * - 0: grants of the user that the agent acts for; without such a user, those without an owner
 * - 1: grants without an owner
 * - 2: grants that the lease names, and those that a binding names by id or label
 * - 3: grants of the only other user that is bound
 *
 * @param labels of the grant
 */
export function placeOf(
  { id, user, lease: owner }: BoundGrant,
  labels: readonly string[],
  {
    bindings,
    user: actsFor,
    lease,
  }: {
    readonly bindings: readonly Binding[];
    readonly user: string | null;
    readonly lease: Pick<Lease, 'id' | 'grants'> | null;
  },
): (typeof places)[number] | null {
  if (owner !== null && owner !== lease?.id) return null;
  if (user === (actsFor ?? defaultUser)) return 0;
  if (user === defaultUser) return 1;
  const isNamed = bindings.some(({ kind, value }) =>
    kind === 'label' ? labels.includes(value) : kind === 'grant' && value === id,
  );
  if (isNamed || owner !== null || lease?.grants?.includes(id) === true) return 2;
  const others = bindings.filter(
    ({ kind, value }) => kind === 'user' && value !== actsFor && value !== defaultUser,
  );
  return others.length === 1 && others[0]!.value === user ? 3 : null;
}
