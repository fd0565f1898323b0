import { defaultUser, type Grant } from './grant.ts';

/**
 * A lease: a temporary right of one agent to use named grants. Leases and the grants' tokens expire
 * independently. All times are milliseconds since the epoch.
 */

export interface Lease {
  /** UUID. */
  readonly id: string;
  /** Name of the agent; a lease is limited to the grants of its agent. */
  readonly agent: string;
  /** IDs of the grants that the lease was made for; null: all present and future grants of its agent. */
  readonly grants: readonly string[] | null;
  /** Patterns of the hosts that may be used without a credential; absent: the patterns of its agent. */
  readonly egress?: readonly string[] | undefined;
  /** One sentence of the lease's creator. */
  readonly purpose: string;
  readonly createdAt: number;
  readonly expiresAt: number;
  /** Milliseconds without use after which the lease ends; null: no limit. */
  readonly idleMs: number | null;
  /** Time of the last renewal; null: the lease was never renewed. */
  readonly renewedAt: number | null;
  /** Last request, to about a minute, or to a quarter of `idleMs` if that is less; null: none yet. */
  readonly usedAt: number | null;
  /** Maximum requests that receive a credential; null: no maximum. */
  readonly maxUses: number | null;
  /** Requests that received a credential so far. Only counted if `maxUses` is set. */
  readonly uses: number;
  readonly revokedAt: number | null;
}

/** Reports whether a lease was made for a grant. The lease never extends the grants of its agent. */
export function isLeaseFor({ grants }: Pick<Lease, 'grants'>, grantId: string): boolean {
  return grants === null || grants.includes(grantId);
}

/** State of a lease at one moment. Only an `active` lease permits requests. */
export type LeaseStanding =
  /** `endsAt`: end of the lease if it is neither used nor renewed before. */
  | { readonly state: 'active'; readonly endsAt: number }
  | { readonly state: 'expired'; readonly why: 'ttl' | 'idle'; readonly at: number }
  | { readonly state: 'used_up' }
  | { readonly state: 'revoked'; readonly at: number };

/** Returns the state of a lease at `now`. `expiresAt` is exclusive. A revoked lease is never `expired`. */
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

/** Lifetimes of one level, with its name for people: `the grant work`. */
export interface LeaseTtlLevel extends LeaseTtl {
  readonly of: string;
}

export interface GrantedTtl {
  readonly ttlMs: number;
  /** Level whose maximum is less than the requested time; null: no level. */
  readonly cappedBy: string | null;
}

/**
 * Returns the lifetime of a lease, the shortest of its grants. Each grant has its levels, the nearest first.
 * The nearest default and the least maximum count.
 * @param asked milliseconds; null: the default
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
 * Selects the grants that an agent reaches. Bindings add up; an agent without bindings reaches nothing.
 * Bindings by provider, user and label include future grants.
 *
 * - `grant`: the grant of this ID.
 * - `provider`, `user`, `label`: every grant with this value.
 * - `everything`: all grants; the value is `*`.
 * - `egress`: no grant; the value is a host that the agent may use without a credential. One such binding
 *   excludes all other such hosts.
 */
export interface Binding {
  readonly kind: 'grant' | 'provider' | 'user' | 'label' | 'everything' | 'egress';
  readonly value: string;
}

/** Binding to every grant, as all agents had before bindings existed. */
export const everything: Binding = { kind: 'everything', value: '*' };

/** Facts of a grant by which bindings select it. */
export type BoundGrant = Pick<Grant, 'id' | 'user' | 'provider' | 'lease' | 'parent' | 'labels'>;

/**
 * Reports whether a binding of an agent reaches a grant. An agent that acts for a user reaches grants of
 * other users only by ID or user: `provider github` of an agent for alice is alice's GitHub only.
 *
 * @param actsFor the user that the agent acts for; null: nobody in particular
 */
function bindingReaches(binding: Binding, actsFor: string | null, grant: BoundGrant): boolean {
  const isOwn = actsFor === null || grant.user === actsFor;
  switch (binding.kind) {
    case 'grant':
      return (grant.parent ?? grant.id) === binding.value;
    case 'user':
      return grant.user === binding.value;
    case 'provider':
      return isOwn && grant.provider === binding.value;
    case 'label':
      return isOwn && grant.labels?.includes(binding.value) === true;
    case 'everything':
      return true;
    case 'egress':
      return false;
  }
}

/** Reports whether any of an agent's bindings reaches a grant. No binding reaches a grant of a lease. */
export function reachesGrant(
  bindings: readonly Binding[],
  actsFor: string | null,
  grant: BoundGrant,
): boolean {
  return grant.lease === null && bindings.some((binding) => bindingReaches(binding, actsFor, grant));
}

/** A caller without a token. */
export const anonymous = { bindings: [], user: null, lease: null };

/** Grants to search: those of some users, and others by ID. */
export interface GrantScope {
  readonly users: readonly string[];
  readonly ids: readonly string[];
}

/**
 * Returns a scope with all grants that have a place for a caller (see `placeOf`); null: any grant may have
 * one, because labels name it. Labels reach other users only with a binding to everything, or for an agent
 * that acts for nobody. A grant that belongs to a lease is within it by its user: that of the agent,
 * or the default user.
 */
export function scopeOf({
  bindings,
  user,
  lease,
}: {
  readonly bindings: readonly Binding[];
  readonly user: string | null;
  readonly lease: Pick<Lease, 'grants'> | null;
}): GrantScope | null {
  const has = (wanted: Binding['kind']) => bindings.some(({ kind }) => kind === wanted);
  if (has('label') && (user === null || has('everything'))) return null;
  const valuesOf = (wanted: Binding['kind']) =>
    bindings.flatMap(({ kind, value }) => (kind === wanted ? [value] : []));
  return {
    users: [...new Set([user ?? defaultUser, defaultUser, ...valuesOf('user')])],
    ids: [...new Set([...valuesOf('grant'), ...(lease?.grants ?? [])])],
  };
}

/** Places of grants, in the order in which a request searches them. */
export const places = [0, 1, 2, 3] as const;

/**
 * Returns the place of a grant for requests of a caller that name no user; null if they never use the grant.
 * Users add grants by themselves, so a grant of another user has a place only if an operator named that
 * grant, or that user only. One user's changes thus have no effect on callers of the others.
 *
 * - 0: grants of the user that the agent acts for; without such a user, those without an owner
 * - 1: grants without an owner
 * - 2: grants that the lease names, and those that a binding names by ID or label
 * - 3: grants of the only other user that is bound
 */
export function placeOf(
  { id, user, lease: owner, labels }: BoundGrant,
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
    kind === 'label' ? labels?.includes(value) : kind === 'grant' && value === id,
  );
  if (isNamed || owner !== null || lease?.grants?.includes(id) === true) return 2;
  const others = bindings.filter(
    ({ kind, value }) => kind === 'user' && value !== actsFor && value !== defaultUser,
  );
  return others.length === 1 && others[0]!.value === user ? 3 : null;
}
