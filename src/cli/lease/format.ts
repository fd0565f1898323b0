import { type Lease, leaseStanding } from '../../agents/lease.ts';
import { isoOrNull, isoTime, relativeTime, spanText } from '../format.ts';
import { grantReference } from '../pick.ts';
import type { Grant } from '../../grants/grant.ts';

/** What a person and a program are told of a lease. */

/** `active`, `expired`, `expired (idle)`, `used up`, `revoked`. */
export function leaseStateText(lease: Lease, now: number): string {
  const standing = leaseStanding(lease, now);
  return standing.state === 'expired' && standing.why === 'idle'
    ? 'expired (idle)'
    : standing.state.replace('_', ' ');
}

/** When it ends, or ended. */
export function leaseEndText(lease: Lease, now: number): string {
  const standing = leaseStanding(lease, now);
  switch (standing.state) {
    case 'active':
      return relativeTime(standing.endsAt, now);
    case 'expired':
    case 'revoked':
      return relativeTime(standing.at, now);
    case 'used_up':
      return 'used up';
  }
}

/** `3 of 10`; `-` where uses are not counted. */
export function usesText({ uses, maxUses }: Lease): string {
  return maxUses === null ? '-' : `${uses} of ${maxUses}`;
}

/** The names of its grants, or that there are no names. */
export function leaseGrantsText(lease: Lease, grants: readonly Grant[]): string {
  if (lease.grants === null) return `all that ${lease.agent} reaches`;
  return lease.grants
    .map((id) => {
      const grant = grants.find((each) => each.id === id);
      return grant === undefined ? '(removed)' : grantReference(grant);
    })
    .join(', ');
}

/** A lease for programs. Times are ISO 8601, spans are seconds; `grants` null: all that its agent reaches. */
export function leaseJson(lease: Lease, now: number): Readonly<Record<string, unknown>> {
  const standing = leaseStanding(lease, now);
  return {
    id: lease.id,
    agent: lease.agent,
    grants: lease.grants,
    purpose: lease.purpose,
    state: standing.state,
    expires_at: isoTime(lease.expiresAt),
    ends_at: isoOrNull(standing.state === 'active' ? standing.endsAt : null),
    expires_in: Math.max(0, Math.floor((lease.expiresAt - now) / 1_000)),
    idle: lease.idleMs === null ? null : lease.idleMs / 1_000,
    max_uses: lease.maxUses,
    uses: lease.maxUses === null ? null : lease.uses,
    used_at: isoOrNull(lease.usedAt),
    renewed_at: isoOrNull(lease.renewedAt),
    revoked_at: isoOrNull(lease.revokedAt),
    created_at: isoTime(lease.createdAt),
  };
}

/** The clocks of a lease as one sentence. */
export function leaseClockText({ expiresAt, idleMs, maxUses }: Lease, now: number): string {
  return [
    `It ends ${relativeTime(expiresAt, now)}`,
    ...(idleMs === null ? [] : [`when it is not used for ${spanText(idleMs)}`]),
    ...(maxUses === null ? [] : [`after ${maxUses === 1 ? 'one request' : `${maxUses} requests`}`]),
  ]
    .join(', or ')
    .concat('.');
}
