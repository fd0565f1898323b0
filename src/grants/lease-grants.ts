import { leaseStanding } from '../domain/lease.ts';
import { recordChange } from '../audit/log.ts';
import { inPages } from '../store/queries.ts';
import type { LeasePage } from '../store/store.ts';
import type { KeepState } from './keep.ts';

const pageSize = 200;

/** Returns records that belong to leases, in pages; `of`: only those of these leases. */
export async function* recordsOfLeases<Item>(
  table: { ofLeases(page: LeasePage<Item>): Promise<Item[]> },
  of: readonly (string | undefined)[] = [undefined],
): AsyncGenerator<Item> {
  for (const lease of of) {
    const pages = inPages<Item>(pageSize, (after) => table.ofLeases({ lease, after, limit: pageSize }));
    for await (const page of pages) yield* page;
  }
}

/**
 * Removes the grants of leases that have ended, and their credentials. Since the end of the lease, no caller
 * could use them. A used-up lease keeps its grants, because it can be renewed.
 *
 * @param now milliseconds since the epoch
 * @param of IDs of leases; absent: all
 */
export async function removeGrantsOfEndedLeases(
  { store, grants, audit }: Pick<KeepState, 'store' | 'grants' | 'audit'>,
  now: number,
  of?: readonly string[],
): Promise<void> {
  for await (const { id, user, provider, lease: owner } of recordsOfLeases(store.grants, of)) {
    const leaseId = owner ?? '';
    const lease = await store.leases.get(leaseId);
    const state = lease === null ? 'revoked' : leaseStanding(lease, now).state;
    if (state !== 'revoked' && state !== 'expired') continue;
    // A token that is still to be revoked is removed later.
    if (await isUsed(store, id, leaseId)) continue;
    const event = { event: 'grant.removed', grant: id, user, provider, lease: leaseId } as const;
    await recordChange(audit, { ...event, reason: 'its lease ended' }, () => grants.remove(id));
  }
}

/** Reports whether a use of a grant by a lease is noted. */
async function isUsed(
  { tokenUses }: Pick<KeepState['store'], 'tokenUses'>,
  grantId: string,
  lease: string,
): Promise<boolean> {
  for await (const use of recordsOfLeases(tokenUses, [lease])) if (use.grantId === grantId) return true;
  return false;
}
