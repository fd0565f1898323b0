import { audited } from '../../audit/audited.ts';
import { SidekeyError } from '../../errors.ts';
import { leaseStanding } from '../../grants/lease.ts';
import { leaseEnded } from '../../proxy/right-refusal.ts';
import type { Context } from '../context.ts';
import { readSpan } from '../span.ts';
import { readUses } from './create.ts';
import { ownGrants } from './own-grants.ts';
import { whatEndsBefore } from './outlives.ts';
import { pickLease } from './pick.ts';
import { cappedText, ttlFor } from './ttl.ts';
import { leaseClockText, leaseJson } from './words.ts';

/** What a lease is given. */
export interface RenewOptions {
  readonly ttl?: string;
  /** So many requests more. */
  readonly uses?: string;
}

/**
 * `sidekey lease renew`: a new end, counted from now and within the maxima of now; one that has ended is good again,
 * without what people had approved under it. It never becomes shorter.
 *
 * @throws SidekeyError `lease_expired` where it was revoked: that is for good
 */
export async function renewLease(
  { withState, output, now }: Context,
  id: string,
  { ttl: span, uses }: RenewOptions,
): Promise<void> {
  const at = now();
  const asked = span === undefined ? null : readSpan('--ttl', span);
  const moreUses = uses === undefined ? 0 : readUses('--uses', uses);
  const { lease, grants, policies, ttl } = await withState(async ({ store, audit, config, ...state }) => {
    const before = pickLease(await store.leases.list(), id);
    if (before.revokedAt !== null) throw leaseEnded(before, { state: 'revoked', at: before.revokedAt });
    if (moreUses > 0 && before.maxUses === null) {
      throw new SidekeyError('input_invalid', 'The lease has no maximum of uses: more mean nothing.', {
        hint: `sidekey lease renew ${id}`,
      });
    }
    const rights = await store.rights.read();
    const own = ownGrants(before, await state.grants.list(), rights);
    if (own.length === 0 && before.grants !== null) {
      throw new SidekeyError('grant_missing', 'All grants of the lease were removed.', {
        hint: `sidekey lease create --agent ${before.agent} --grant GRANT --purpose TEXT`,
      });
    }
    const { policies: known } = rights;
    const granted = ttlFor(asked ?? (own.length === 0 ? config.leases.defaultTtlMs : null), own, {
      config,
      policies: known,
    });
    const expiresAt = Math.max(before.expiresAt, at + granted.ttlMs);
    const event = { event: 'lease.renewed', agent: before.agent, lease: before.id } as const;
    const renewed = await audited(audit, event, async () => {
      const answer = await store.leases.renew(before.id, { at, expiresAt, moreUses });
      if (answer === null) throw leaseEnded(before, { state: 'revoked', at });
      return answer;
    });
    return { lease: renewed, grants: own, policies: known, ttl: granted };
  });
  const warnings = whatEndsBefore(lease.expiresAt, grants, policies, at);
  output.result(
    { ...leaseJson(lease, at), capped_by: ttl.cappedBy, warnings },
    `Renewed the lease ${lease.id}. ${leaseClockText(lease, at)}`,
  );
  const capped = cappedText(ttl, span);
  if (capped !== null) output.say(capped);
  for (const warning of warnings) output.say(warning);
  if (leaseStanding(lease, at).state === 'used_up') {
    output.say(`It is used up all the same.\n  → sidekey lease renew ${id} --uses ${lease.maxUses}`);
  }
}
