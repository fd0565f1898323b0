import { reachesGrant } from '../../grants/binding.ts';
import type { Grant } from '../../grants/grant.ts';
import { isLeaseFor, type Lease } from '../../grants/lease.ts';
import type { Rights } from '../../store/rights.ts';

/**
 * The grants that a lease was made for; of one for whatever its agent reaches, those that it reaches now.
 *
 * @param rights null: there is no store, and nobody reaches anything
 */
export function ownGrants(
  lease: Pick<Lease, 'agent' | 'grants'>,
  grants: readonly Grant[],
  rights: Rights | null,
): Grant[] {
  if (lease.grants !== null) return grants.filter(({ id }) => isLeaseFor(lease, id));
  const actsFor = rights?.agents.find(({ name }) => name === lease.agent)?.user ?? null;
  const bindings = rights?.bindings.filter(({ agent }) => agent === lease.agent) ?? [];
  const labels = new Map(rights?.policies.map((policy) => [policy.grantId, policy.labels]));
  return grants.filter((grant) => reachesGrant(bindings, actsFor, grant, labels.get(grant.id) ?? []));
}
