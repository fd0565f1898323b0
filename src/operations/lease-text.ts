import type { Grant } from '../domain/grant.ts';
import { type GrantedTtl, type Lease, leaseStanding } from '../domain/lease.ts';
import { relativeTime, spanText } from './format.ts';
import { grantReference } from './lookup.ts';

/** Sentence about a lease that is shorter than requested; null: it is not. */
export function cappedText({ ttlMs, cappedBy }: GrantedTtl, asked: string | undefined): string | null {
  if (cappedBy === null) return null;
  const wanted = asked === undefined ? 'the usual time' : asked;
  return `It lasts ${spanText(ttlMs)} instead of ${wanted}, the maximum of ${cappedBy}.`;
}

/** `active`, `expired`, `expired (idle)`, `used up`, `revoked`. */
export function leaseStateText(lease: Lease, now: number): string {
  const standing = leaseStanding(lease, now);
  return standing.state === 'expired' && standing.why === 'idle'
    ? 'expired (idle)'
    : standing.state.replace('_', ' ');
}

/** Time at which it ends, or ended. */
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

/** Names of its grants, or a text for all grants. */
export function leaseGrantsText(lease: Lease, grants: readonly Grant[]): string {
  if (lease.grants === null) return `all that ${lease.agent} reaches`;
  return lease.grants
    .map((id) => {
      const grant = grants.find((each) => each.id === id);
      return grant === undefined ? '(removed)' : grantReference(grant);
    })
    .join(', ');
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
