import { leaseStanding } from '../domain/lease.ts';
import { recordChange } from '../audit/log.ts';
import type { KeepState } from './keep.ts';

/**
 * Removes the grants of leases that have ended, and their credentials. Since the end of the lease, no caller
 * could use them. A used-up lease keeps its grants, because it can be renewed.
 *
 * @param now milliseconds since the epoch
 */
export async function removeGrantsOfEndedLeases(
  { store, grants, audit }: Pick<KeepState, 'store' | 'grants' | 'audit'>,
  now: number,
): Promise<void> {
  const uses = await store.tokenUses.list();
  for (const { id, user, provider, lease: leaseId } of await store.grants.leased()) {
    // A token that is still to be revoked is removed later.
    if (leaseId === null || uses.some((use) => use.grantId === id && use.lease === leaseId)) continue;
    const lease = await store.leases.get(leaseId);
    const state = lease === null ? 'revoked' : leaseStanding(lease, now).state;
    if (state !== 'revoked' && state !== 'expired') continue;
    const event = { event: 'grant.removed', grant: id, user, provider, lease: leaseId } as const;
    await recordChange(audit, { ...event, reason: 'its lease ended' }, () => grants.remove(id));
  }
}
