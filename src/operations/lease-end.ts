import { secretText, type OpenedGrant } from '../domain/credential.ts';
import { type Lease, leaseStanding } from '../domain/lease.ts';
import { grantEvent } from '../grants/activity.ts';
import { recordsOfLeases, removeGrantsOfEndedLeases } from '../grants/lease-grants.ts';
import { createRefreshLock } from '../grants/refresh-lock.ts';
import { systemTimers } from '../lib/timers.ts';
import { createFingerprint } from '../proxy/schemes/apply.ts';
import type { TokenUse } from '../store/store.ts';
import type { Changing } from './operation.ts';
import { revokeAccessToken } from './provider-revocation.ts';

/** Work after the end of a lease: any process of the store does it, and repeats it until it is done. */

type LeaseEndParts = Pick<Changing, 'config' | 'store' | 'grants' | 'audit' | 'vault' | 'now' | 'withFetch'>;

/**
 * Revokes the tokens that only ended leases used, then removes the grants of ended leases.
 *
 * @param of IDs of leases; absent: all
 * @param signal if aborted, no further token is revoked; a revocation under way is completed first
 */
export async function finishEndedLeases(
  parts: LeaseEndParts,
  { of, signal }: { readonly of?: readonly string[]; readonly signal?: AbortSignal } = {},
): Promise<void> {
  const { store, config, now } = parts;
  const lock = createRefreshLock({ store, now, timers: systemTimers, limits: config.limits });
  let failure: unknown;
  for await (const use of recordsOfLeases(store.tokenUses, of)) {
    const { lease, grantId, dueAt } = use;
    if (signal?.aborted === true) break;
    if (lease === null || (dueAt ?? 0) > now()) continue;
    if (!hasEnded(await store.leases.get(lease), now())) continue;
    // Keeps a refresh, and the same work of other processes, away.
    if (typeof (await lock.take(grantId, { patient: true, signal })) === 'string') continue;
    try {
      await finishUse(parts, use);
    } catch (error) {
      // A grant that cannot be read must not keep those of other leases.
      failure ??= error;
    } finally {
      await lock.release(grantId);
    }
  }
  await removeGrantsOfEndedLeases(parts, now(), of);
  if (failure !== undefined) throw failure;
}

/** Milliseconds after the last use of a lease that ends by use: its last request may be on its way. */
const onItsWayMs = 60_000;

/** Reports whether a lease has ended; null: it was removed with its agent. */
function hasEnded(lease: Lease | null, now: number): boolean {
  if (lease === null) return true;
  const standing = leaseStanding(lease, now);
  if (standing.state === 'used_up') return now >= (lease.usedAt ?? 0) + onItsWayMs;
  if (standing.state === 'expired' && standing.why === 'idle') return now >= standing.at + onItsWayMs;
  return standing.state !== 'active';
}

const maxAttempts = 5;
/** Milliseconds before the second attempt. The pause doubles with each attempt. */
const firstPauseMs = 60_000;

/** Revokes the token, unless others used it, and removes the use, unless there will be another attempt. */
async function finishUse(parts: LeaseEndParts, { grantId, token, lease }: TokenUse): Promise<void> {
  const { config, store, vault, audit, now } = parts;
  // Also those of other grants: a provider may give the same token twice.
  const all = await store.tokenUses.list(token);
  const use = all.find((each) => each.grantId === grantId && each.lease === lease);
  const opened = await parts.grants.read(grantId);
  // Another process may have been first.
  if (use === undefined || (use.dueAt ?? 0) > now() || opened === null) return;
  const { grant, sealed } = opened;
  const owner = grant.lease === null ? null : await store.leases.get(grant.lease);
  // A used-up lease keeps its grants, because it can be renewed.
  if (owner !== null && leaseStanding(owner, now()).state === 'used_up') return;
  const fingerprint = createFingerprint((secret) => vault.mac('credential-fingerprint', secret));
  // A token that was replaced is not stored any more.
  const isRevoked = config.leases.revokesTokens || grant.parent !== null;
  if (!isRevoked || fingerprint(sealed) !== token) return store.tokenUses.remove(use);
  const result = all.length > 1 ? shared : await revokeAccessToken(parts, opened, grant.lease !== null);
  const attempts = use.attempts + 1;
  const isLast = attempts >= maxAttempts;
  const reason = result.kind === 'ended' ? undefined : result.sentence;
  await audit.append({
    ...grantEvent(grant, { event: 'grant.token_revoked', lease: lease ?? undefined }),
    outcome: outcomes[result.kind],
    reason: result.kind === 'failed' && isLast ? `${reason} No further attempt follows.` : reason,
  });
  if (result.kind === 'failed' && !isLast)
    return store.tokenUses.retry(use, attempts, now() + firstPauseMs * 2 ** (attempts - 1));
  if (result.kind === 'ended') await forgetToken(parts, opened);
  return store.tokenUses.remove(use);
}

const shared = { kind: 'not told', sentence: 'Other callers used the token too.' } as const;

const outcomes = { ended: 'ok', 'not told': 'aborted', failed: 'failed' } as const;

/** Erases a revoked token, so that the next use gets another. */
async function forgetToken({ grants }: LeaseEndParts, revoked: OpenedGrant): Promise<void> {
  for (let opened: OpenedGrant | null = revoked; opened !== null;) {
    const { grant, sealed } = opened;
    const { credential } = sealed;
    const isCurrent = secretText(credential) === secretText(revoked.sealed.credential);
    if (credential.type !== 'oauth2' || !isCurrent || grant.lease !== null) return;
    if (grant.state !== 'active' && grant.state !== 'expired') return;
    const next = { ...sealed, credential: { ...credential, accessToken: null, expiresAt: null } };
    if ((await grants.replaceCredential(grant, next)) !== null) return;
    opened = await grants.read(grant.id);
  }
}
