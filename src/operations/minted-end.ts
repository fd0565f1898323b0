import { recordChange } from '../audit/log.ts';
import { type Grant, hasEnded } from '../domain/grant.ts';
import { grantEvent } from '../grants/activity.ts';
import type { KeepState } from '../grants/keep.ts';
import { inPages } from '../store/queries.ts';
import type { GrantRecord } from '../store/store.ts';
import type { Changing } from './operation.ts';
import { revokeAccessToken } from './provider-revocation.ts';

/** Ends of minted grants, besides the end of their lease (see `lease-end.ts`). */

const pageSize = 200;

/**
 * Removes the grants that were minted with a grant, before it ends or loses scopes itself.
 *
 * @param isLocal true: skips the revocation at the provider
 */
export async function endMinted(
  parts: Pick<Changing, 'audit' | 'config' | 'grants' | 'now' | 'store' | 'withFetch'>,
  { id, isLocal = false }: { readonly id: string; readonly isLocal?: boolean },
): Promise<void> {
  const { audit, grants } = parts;
  for await (const record of mintedGrants(parts, [id])) {
    const opened = isLocal ? null : await grants.openRecord(record).catch(() => null);
    const result = opened === null ? null : await revokeAccessToken(parts, opened, true);
    if (result !== null && result.kind !== 'not told')
      await audit.append({
        ...grantEvent(record, { event: 'grant.token_revoked' }),
        outcome: result.kind === 'ended' ? 'ok' : 'failed',
        reason: result.kind === 'ended' ? undefined : result.sentence,
      });
    await removeMinted(parts, record, 'its parent ended');
  }
}

/** Removes the minted grants whose token or parent has ended. `now`: milliseconds since the epoch. */
export async function removeEndedMinted(parts: KeepParts, now: number): Promise<void> {
  for await (const record of mintedGrants(parts)) {
    const parent = await parts.grants.current(record.parent ?? '');
    if (parent === null || parent.state === 'revoked') await removeMinted(parts, record, 'its parent ended');
    else if (hasEnded(record, now)) await removeMinted(parts, record, 'its token ended');
  }
}

type KeepParts = Pick<KeepState, 'store' | 'grants' | 'audit'>;

async function* mintedGrants(
  { store }: Pick<KeepParts, 'store'>,
  parents?: readonly string[],
): AsyncGenerator<GrantRecord> {
  const query = { limit: pageSize, ...(parents === undefined ? {} : { parents }) };
  const read = (after?: GrantRecord) => store.grants.minted({ ...query, after });
  for await (const page of inPages(pageSize, read)) yield* page;
}

/** Removes a minted grant, and records why. */
export async function removeMinted(
  { audit, grants }: Pick<KeepParts, 'audit' | 'grants'>,
  record: Grant,
  reason: string,
): Promise<void> {
  const event = grantEvent(record, { event: 'grant.removed', lease: record.lease ?? undefined, reason });
  await recordChange(audit, event, () => grants.remove(record.id));
}
