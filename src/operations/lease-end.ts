import { recordChange } from '../audit/log.ts';
import { secretText } from '../domain/credential.ts';
import { type Lease, leaseStanding } from '../domain/lease.ts';
import { grantEvent } from '../grants/activity.ts';
import { removeGrantsOfEndedLeases } from '../grants/lease-grants.ts';
import { createRefreshLock } from '../grants/refresh-lock.ts';
import type { OpenedGrant } from '../grants/registry.ts';
import { systemTimers } from '../lib/timers.ts';
import { createFingerprint } from '../proxy/schemes/apply.ts';
import type { TokenUse } from '../store/store.ts';
import type { Changing } from './operation.ts';
import { revokeAccessToken } from './provider-revocation.ts';

/** What happens after the end of a lease, in any process of the store, and again until it is done. */

export type LeaseEndParts = Pick<
  Changing,
  'config' | 'store' | 'grants' | 'audit' | 'vault' | 'now' | 'withFetch'
>;

/**
 * Revokes the tokens that only ended leases used, then removes the grants of ended leases.
 *
 * @param of IDs of the leases whose tokens are revoked; absent: all
 */
export async function finishEndedLeases(parts: LeaseEndParts, of?: readonly string[]): Promise<void> {
  const { store, now } = parts;
  for (const use of await store.tokenUses.list()) {
    if (use.lease === null || (use.dueAt ?? 0) > now() || of?.includes(use.lease) === false) continue;
    if (hasEnded(await store.leases.get(use.lease), now())) await finishUse(parts, use);
  }
  await removeGrantsOfEndedLeases(parts, now());
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

/** The lock keeps a refresh, and the same work of other processes, away. */
async function finishUse(parts: LeaseEndParts, use: TokenUse): Promise<void> {
  const { store, config, now } = parts;
  const { grantId } = use;
  const lock = createRefreshLock({ store, now, timers: systemTimers, limits: config.limits });
  if ((await lock.take(grantId, { patient: true })) !== 'taken') return;
  try {
    const all = (await store.tokenUses.list()).filter((each) => isSameToken(each, use));
    const current = all.find(({ lease }) => lease === use.lease);
    const opened = await parts.grants.read(grantId);
    if (current === undefined || opened === null) return;
    if (await isSettled(parts, current, { opened, isShared: all.length > 1 }))
      await store.tokenUses.remove(use);
  } finally {
    await lock.release(grantId);
  }
}

function isSameToken(a: TokenUse, b: TokenUse): boolean {
  return a.grantId === b.grantId && a.token === b.token;
}

const maxAttempts = 5;
/** Milliseconds before the second attempt. The pause doubles with each attempt. */
const firstPauseMs = 60_000;

/** Revokes the token, unless others used it. Returns false if there will be another attempt. */
async function isSettled(
  parts: LeaseEndParts,
  use: TokenUse,
  { opened, isShared }: { readonly opened: OpenedGrant; readonly isShared: boolean },
): Promise<boolean> {
  const { config, store, vault, audit, now } = parts;
  const { grant, sealed } = opened;
  const fingerprint = createFingerprint((secret) => vault.mac('credential-fingerprint', secret));
  // A token that was replaced is not stored any more.
  if (!config.leases.revokesTokens || fingerprint(sealed) !== use.token) return true;
  const event = grantEvent(grant, { event: 'grant.token_revoked', lease: use.lease ?? undefined });
  const record = (outcome: string, reason?: string) => audit.append({ ...event, outcome, reason });
  if (isShared) {
    await record('aborted', 'other callers used the token too');
    return true;
  }
  const result = await revokeAccessToken(parts, opened, grant.lease !== null);
  if (result.kind === 'ended') {
    await recordChange(audit, { ...event, outcome: 'ok' }, () => forgetToken(parts, opened));
    return true;
  }
  if (result.kind === 'not told') {
    await record('aborted', result.sentence);
    return true;
  }
  const attempts = use.attempts + 1;
  const isLast = attempts >= maxAttempts;
  await record('failed', `${result.sentence}${isLast ? ' No further attempt follows.' : ''}`);
  if (!isLast) await store.tokenUses.retry(use, attempts, now() + firstPauseMs * 2 ** (attempts - 1));
  return isLast;
}

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
