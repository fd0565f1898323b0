import {
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
import type { GrantPolicy, Rights } from '../store/store.ts';
import { relativeTime } from './format.ts';
import { grantReference } from './lookup.ts';

/** Rights of some agents, with the settings of some grants. */
export type AgentRights = Pick<Rights, 'agents' | 'bindings' | 'policies'>;

/**
 * Returns the grants of a lease; for a lease without a list, those that its agent reaches now.
 *
 * @param rights null: there is no store, so nothing is reachable
 */
export function ownGrants(
  lease: Pick<Lease, 'agent' | 'grants'>,
  grants: readonly Grant[],
  rights: AgentRights | null,
): Grant[] {
  if (lease.grants !== null) {
    const ids = new Set(lease.grants);
    return grants.filter(({ id }) => ids.has(id));
  }
  const { user, bindings, labelsOf } = agentRights(lease.agent, rights);
  return grants.filter((grant) => reachesGrant(bindings, user, grant, labelsOf(grant)));
}

/** Returns the grants of a lease for requests without a selected user, in the order of `placeOf`. */
export function usualGrants(
  lease: Pick<Lease, 'id' | 'agent' | 'grants'>,
  reached: readonly Grant[],
  rights: AgentRights | null,
): Grant[] {
  const { labelsOf, ...agent } = agentRights(lease.agent, rights);
  const inTurn = Map.groupBy(reached, (grant) => placeOf(grant, labelsOf(grant), { ...agent, lease }));
  return places.flatMap((place) => inTurn.get(place) ?? []);
}

/** Facts of an agent by which it reaches grants. */
export function agentRights(agent: string, rights: AgentRights | null) {
  const labels = new Map(rights?.policies.map((policy) => [policy.grantId, policy.labels]));
  return {
    user: rights?.agents.find(({ name }) => name === agent)?.user ?? null,
    bindings: rights?.bindings.filter((each) => each.agent === agent) ?? [],
    labelsOf: ({ id }: Grant) => labels.get(id) ?? [],
  };
}

/** Sentences about grants and tokens that end before the lease; none where the lease ends first. */
export function whatEndsBefore(
  expiresAt: number,
  grants: readonly Grant[],
  policies: readonly GrantPolicy[],
  now: number,
): string[] {
  const ends = new Map(policies.map((each) => [each.grantId, each.expiresAt]));
  return grants.flatMap((grant) => {
    const name = grantReference(grant);
    const state = stateNow(grant, now);
    if (state !== 'active')
      return [`The grant ${name} is ${state.replace('_', ' ')}: the lease cannot use it now.`];
    const end = ends.get(grant.id) ?? null;
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
  readonly policies: readonly GrantPolicy[];
}

type LeasedGrant = Pick<Grant, 'id' | 'name' | 'user' | 'provider'>;

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
  const policies = new Map(facts.policies.map((each) => [each.grantId, each]));
  const levels = (grant: LeasedGrant) => levelsOf(grant, policies.get(grant.id), facts.config);
  const wanted = asked ?? (usual.length === 0 ? facts.config.leases.defaultTtlMs : null);
  return grantedTtl(wanted, grants.map(levels), usual.map(levels));
}

function levelsOf(
  grant: LeasedGrant,
  policy: GrantPolicy | undefined,
  config: TtlFacts['config'],
): LeaseTtlLevel[] {
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
