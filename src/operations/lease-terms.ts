import {
  anonymous,
  type GrantedTtl,
  grantedTtl,
  type Lease,
  type LeaseTtlLevel,
  placeOf,
  places,
  reachesGrant,
} from '../domain/lease.ts';
import type { Config } from '../config/config.ts';
import { type Grant, stateNow } from '../domain/grant.ts';
import type { BoundAgent, GrantPolicy, Store } from '../store/store.ts';
import { relativeTime } from './format.ts';
import { grantReference } from './lookup.ts';

/**
 * Returns the grants of a lease; for a lease without a list, those that its agent reaches now.
 *
 * @param agent the agent of the lease; null: it does not exist, and reaches nothing
 */
export function ownGrants(
  lease: Pick<Lease, 'grants'>,
  grants: readonly Grant[],
  agent: Reaching | null,
): Grant[] {
  if (lease.grants !== null) {
    const ids = new Set(lease.grants);
    return grants.filter(({ id }) => ids.has(id));
  }
  const { user, bindings } = agent ?? anonymous;
  return grants.filter((grant) => reachesGrant(bindings, user, grant));
}

/** Returns the grants of a lease for requests without a selected user, in the order of `placeOf`. */
export function usualGrants(
  lease: Pick<Lease, 'id' | 'grants'>,
  reached: readonly Grant[],
  agent: Reaching | null,
): Grant[] {
  const { user, bindings } = agent ?? anonymous;
  const inTurn = Map.groupBy(reached, (grant) => placeOf(grant, { user, bindings, lease }));
  return places.flatMap((place) => inTurn.get(place) ?? []);
}

/** Sentences about grants and tokens that end before the lease; none where the lease ends first. */
export function whatEndsBefore(expiresAt: number, grants: readonly Grant[], now: number): string[] {
  return grants.flatMap((grant) => {
    const name = grantReference(grant);
    const state = stateNow(grant, now);
    if (state !== 'active')
      return [`The grant ${name} is ${state.replace('_', ' ')}: the lease cannot use it now.`];
    const end = grant.endsAt ?? null;
    return [
      ...(end !== null && end < expiresAt
        ? [
            end <= now
              ? `The grant ${name} expired ${relativeTime(end, now)}: the lease cannot use it now.`
              : `The lease outlives the grant ${name}, which ends ${relativeTime(end, now)}.`,
          ]
        : []),
      ...(!grant.refreshable && grant.expiresAt !== null && grant.expiresAt < expiresAt
        ? [
            `The lease outlives the token of ${name}, which ends ${relativeTime(grant.expiresAt, now)} and cannot be refreshed.`,
          ]
        : []),
    ];
  });
}

interface TtlFacts {
  readonly config: Pick<Config, 'leases' | 'providers'>;
  readonly policies: ReadonlyMap<string, GrantPolicy>;
}

/** The part of an agent that decides which grants it reaches. */
type Reaching = Pick<BoundAgent, 'user' | 'bindings'>;

type LeasedGrant = Pick<Grant, 'id' | 'name' | 'user' | 'provider'>;

/** Returns the policies of grants, by ID of the grant. */
export async function policiesOf(
  store: Pick<Store, 'grantPolicies'>,
  grants: readonly Pick<Grant, 'id'>[],
): Promise<ReadonlyMap<string, GrantPolicy>> {
  const policies = await store.grantPolicies.some(grants.map(({ id }) => id));
  return new Map(policies.map((policy) => [policy.grantId, policy]));
}

/**
 * Returns the lifetime of a lease for these grants. `asked` is in milliseconds; null: the default of the
 * `usual` grants. The default of another grant does not count, because its user sets it.
 */
export function ttlFor(
  asked: number | null,
  grants: readonly LeasedGrant[],
  facts: TtlFacts,
  usual: readonly LeasedGrant[] = grants,
): GrantedTtl {
  const levels = (grant: LeasedGrant) => levelsOf(grant, facts);
  const wanted = asked ?? (usual.length === 0 ? facts.config.leases.defaultTtlMs : null);
  return grantedTtl(wanted, grants.map(levels), usual.map(levels));
}

function levelsOf(grant: LeasedGrant, { config, policies }: TtlFacts): LeaseTtlLevel[] {
  const policy = policies.get(grant.id);
  const provider = config.providers.get(grant.provider);
  const { defaultTtlMs, maxTtlMs } = config.leases;
  return [
    {
      of: `the grant ${grantReference(grant)}`,
      defaultMs: policy?.leaseDefaultMs ?? null,
      maxMs: policy?.leaseMaxMs ?? null,
    },
    { of: `the provider ${grant.provider}`, ...(provider?.lease ?? { defaultMs: null, maxMs: null }) },
    { of: 'leases.max_ttl of the config', defaultMs: defaultTtlMs, maxMs: maxTtlMs },
  ];
}
