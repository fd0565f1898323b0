import type { Grant } from '../../grants/grant.ts';
import { stateNow } from '../../grants/state-now.ts';
import type { GrantPolicy } from '../../store/rights.ts';
import { grantReference } from '../agent/bindings.ts';
import { relativeTime } from '../time.ts';

/**
 * What ends before a lease does: a lease and the token behind it have clocks of their own. Sentences for people; none
 * where the lease is the first to end.
 */
export function whatEndsBefore(
  expiresAt: number,
  grants: readonly Grant[],
  policies: readonly GrantPolicy[],
  now: number,
): string[] {
  return grants.flatMap((grant) => {
    const name = grantReference(grant);
    const state = stateNow(grant, now);
    if (state !== 'active')
      return [`The grant ${name} is ${state.replace('_', ' ')}: the lease is of no use for it now.`];
    const end = policies.find(({ grantId }) => grantId === grant.id)?.expiresAt ?? null;
    return [
      ...(end !== null && end < expiresAt
        ? [
            end <= now
              ? `The grant ${name} was given until ${relativeTime(end, now)}: the lease is of no use for it now.`
              : `The lease outlives the grant ${name}, which ends ${relativeTime(end, now)}.`,
          ]
        : []),
      ...(!grant.refreshable && grant.expiresAt !== null && grant.expiresAt < expiresAt
        ? [
            `The lease outlives the token of ${name}, which ends ${relativeTime(grant.expiresAt, now)} and cannot be refreshed.`,
          ]
        : []),
    ];
  });
}
