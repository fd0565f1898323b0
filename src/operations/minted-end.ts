import { type Grant, hasEnded } from '../domain/grant.ts';
import { grantEvent } from '../grants/activity.ts';
import type { KeepState } from '../grants/keep.ts';
import { removeMinted } from '../grants/mint.ts';
import { inPages } from '../store/queries.ts';
import type { GrantRecord } from '../store/store.ts';
import type { Changing } from './operation.ts';
import { revokeAccessToken } from './provider-revocation.ts';

/** Ends of minted grants, besides the end of their lease (see `lease-end.ts`). */

const pageSize = 200;

type EndParts = Pick<Changing, 'audit' | 'config' | 'grants' | 'now' | 'store' | 'withFetch'>;

/**
 * Removes the grants that were minted with a grant, before it ends or loses scopes itself.
 *
 * @param isLocal true: skips the revocation at the provider
 */
export async function endMinted(
  parts: EndParts,
  { id, isLocal = false }: { readonly id: string; readonly isLocal?: boolean },
): Promise<void> {
  for await (const record of mintedGrants(parts, [id])) {
    if (!isLocal) await revokeMinted(parts, record.id);
    await removeMinted(parts, record, 'its parent ended');
  }
}

/** Revokes and removes a minted grant whose placeholder no client received. */
export async function discardMinted(parts: EndParts, grant: Grant): Promise<void> {
  await revokeMinted(parts, grant.id);
  await removeMinted(parts, grant, 'its answer was not sent');
}

async function revokeMinted(parts: EndParts, id: string): Promise<void> {
  const opened = await parts.grants.read(id).catch(() => null);
  if (opened === null) return;
  const result = await revokeAccessToken(parts, opened, true);
  if (result.kind === 'not told') return;
  await parts.audit.append({
    ...grantEvent(opened.grant, { event: 'grant.token_revoked' }),
    outcome: result.kind === 'ended' ? 'ok' : 'failed',
    reason: result.kind === 'ended' ? undefined : result.sentence,
  });
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
