import { type Lease, leaseStanding } from '../../agents/lease.ts';
import type { Grant } from '../../grants/grant.ts';
import { SidekeyError } from '../../lib/errors.ts';
import { grantReference } from '../agent/bindings.ts';
import { isoTime, relativeTime, spanText } from '../format.ts';
import { isoOrNull } from '../grant/format.ts';

/** What a person and a program are told of a lease. */

/** So many characters of an id are shown, and stand for it. */
export const shortId = (id: string): string => id.slice(0, 8);

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

/** As much of an id as names a lease at the least. */
const shortest = 4;

/**
 * The lease of this id, or of an id that begins so.
 * @throws SidekeyError `not_found`, `input_invalid` where several do
 */
export function pickLease<L extends Lease>(leases: readonly L[], id: string): L {
  const isPart = /^[0-9a-f-]+$/.test(id) && id.length >= shortest;
  const found = isPart ? leases.filter((lease) => lease.id.startsWith(id)) : [];
  const [only, ...more] = found;
  if (only !== undefined && more.length === 0) return only;
  if (more.length > 0) {
    throw new SidekeyError('input_invalid', `Several leases have an id that begins with ${id}.`, {
      hint: 'write more of it: sidekey lease list --all --json',
    });
  }
  // What is no id may be a token in the wrong place.
  throw new SidekeyError('not_found', `There is no lease ${isPart ? id : 'of that id'}.`, {
    hint: 'sidekey lease list --all',
  });
}
