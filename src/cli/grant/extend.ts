import { audited } from '../../audit/audited.ts';
import { SidekeyError } from '../../errors.ts';
import type { Context } from '../context.ts';
import { readSpan, spanText } from '../span.ts';
import { dateTime, relativeTime } from '../time.ts';
import { isoOrNull } from './clock-words.ts';
import { grantGone, pickGrant } from './pick.ts';
import { titleOf } from './words.ts';

/** How far a grant is extended. */
export interface ExtendOptions {
  readonly user?: string;
  readonly ttl?: string;
}

/**
 * `sidekey grant extend`: puts the end that people set for a grant further away, counted from now, within the maximum
 * that was set with it. It never becomes shorter, and the provider is not asked: its tokens have clocks of their own.
 *
 * @throws SidekeyError what `pickGrant` throws; `input_invalid` where it has no such end, or nothing says how far
 */
export async function extendGrant(
  { withState, output, now }: Context,
  reference: string,
  { user, ttl: span }: ExtendOptions,
): Promise<void> {
  const at = now();
  const asked = span === undefined ? null : readSpan('--ttl', span);
  const { grant, before, expiresAt, capped } = await withState(async ({ store, audit, grants }) => {
    const found = pickGrant(await grants.list(), { grant: reference, user });
    const policy = await store.grantPolicies.get(found.id);
    const end = policy?.expiresAt ?? null;
    if (end === null) {
      throw new SidekeyError(
        'input_invalid',
        `No end was set for ${titleOf(found)}: there is nothing to extend.`,
        {
          hint: `to set one: sidekey grant policy ${reference} --expires 30d`,
        },
      );
    }
    const maxMs = policy?.maxTtlMs ?? null;
    const wanted = asked ?? policy?.defaultTtlMs ?? maxMs;
    if (wanted === null) {
      throw new SidekeyError('input_invalid', 'Nothing says how far the grant is to be extended.', {
        hint: `sidekey grant extend ${reference} --ttl 30d`,
      });
    }
    const isCapped = maxMs !== null && maxMs < wanted;
    const next = Math.max(end, at + (isCapped ? maxMs : wanted));
    const event = { event: 'grant.extended', grant: found.id, user: found.user } as const;
    await audited(audit, event, async () => {
      if (!(await store.grantPolicies.set(found.id, { expiresAt: next }))) throw grantGone();
    });
    return { grant: found, before: end, expiresAt: next, capped: isCapped ? maxMs : null };
  });
  const changed = expiresAt > before;
  const when = `${relativeTime(expiresAt, at)} (${dateTime(expiresAt)})`;
  output.result(
    {
      id: grant.id,
      name: grant.name,
      user: grant.user,
      expires_at: isoOrNull(expiresAt),
      changed,
      capped: capped !== null,
    },
    changed ? `${titleOf(grant)} ends ${when}.` : `${titleOf(grant)} ends ${when} as before: that is later.`,
  );
  if (capped !== null) {
    output.say(`More than ${spanText(capped)} from now is not allowed by the policy of the grant.`);
  }
}
