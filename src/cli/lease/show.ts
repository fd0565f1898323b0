import type { Context } from '../context.ts';
import { lastUse } from '../grant/clock-words.ts';
import { spanText } from '../span.ts';
import { details } from '../table.ts';
import { dateTime, relativeTime } from '../time.ts';
import { whatEndsBefore } from './outlives.ts';
import { ownGrants } from './own-grants.ts';
import { pickLease } from './pick.ts';
import { leaseEndText, leaseGrantsText, leaseJson, leaseStateText, usesText } from './words.ts';

/** `sidekey lease show`. Rejects with what `pickLease` throws. */
export async function showLease({ withView, output, now }: Context, id: string): Promise<void> {
  const { lease, grants, rights } = await withView(async ({ store, ...view }) => ({
    lease: pickLease((await store?.leases.list()) ?? [], id),
    grants: await view.grants(),
    rights: (await store?.rights.read()) ?? null,
  }));
  const at = now();
  const when = (time: number) => `${relativeTime(time, at)} (${dateTime(time)})`;
  const own = ownGrants(lease, grants, rights);
  const state = leaseStateText(lease, at);
  const warnings = state === 'active' ? whatEndsBefore(lease.expiresAt, own, rights?.policies ?? [], at) : [];
  output.result(
    { ...leaseJson(lease, at), warnings },
    details(lease.id, {
      agent: lease.agent,
      grants: leaseGrantsText(lease, grants),
      purpose: lease.purpose,
      state,
      ends: leaseEndText(lease, at),
      'at the latest': when(lease.expiresAt),
      'idle end': lease.idleMs === null ? null : `after ${spanText(lease.idleMs)} without a request`,
      uses: lease.maxUses === null ? null : usesText(lease),
      'last use': lastUse(lease.usedAt, at),
      renewed: lease.renewedAt === null ? null : when(lease.renewedAt),
      created: when(lease.createdAt),
    }),
  );
  for (const warning of warnings) output.say(warning);
}
