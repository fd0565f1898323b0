import { stateNow } from '../../grants/state-now.ts';
import type { Context } from '../context.ts';
import { table } from '../table.ts';
import { relativeTime } from '../time.ts';
import { isoOrNull, lastUse } from './clock-words.ts';
import { expiryOf, grantCommand, grantJson, scopesOf, titleOf } from './words.ts';

/** Ends that come sooner are pointed out. */
const nearMs = 7 * 86_400_000;

/** `sidekey grant list` */
export async function listGrants({ withView, output, now }: Context): Promise<void> {
  const { grants, usedAt, givenUntil } = await withView(async (view) => {
    const activity = (await view.store?.activity.list()) ?? [];
    const uses = new Map(activity.map((each) => [each.grantId, each.usedAt]));
    const policies = (await view.store?.grantPolicies.list()) ?? [];
    const ends = new Map(policies.map((policy) => [policy.grantId, policy.expiresAt]));
    return {
      grants: await view.grants(),
      usedAt: (id: string) => uses.get(id) ?? null,
      givenUntil: (id: string) => ends.get(id) ?? null,
    };
  });
  const at = now();
  const ending = grants.map((grant) => ({ grant, end: givenUntil(grant.id) }));
  const isGiven = ending.some(({ end }) => end !== null);
  const rows = grants.map((grant) => [
    grant.name,
    grant.provider,
    grant.user,
    stateNow(grant, at),
    scopesOf(grant),
    expiryOf(grant, at),
    lastUse(usedAt(grant.id), at),
    ...(isGiven ? [endText(givenUntil(grant.id), at)] : []),
  ]);
  output.result(
    grants.map((grant) => ({
      ...grantJson(grant, at),
      used_at: isoOrNull(usedAt(grant.id)),
      given_until: isoOrNull(givenUntil(grant.id)),
    })),
    grants.length === 0
      ? 'There are no grants yet.'
      : table(isGiven ? [...headings, 'GIVEN UNTIL'] : headings, rows),
  );
  if (grants.length === 0) output.say('  → sidekey connect PROVIDER');
  for (const { grant, end } of ending) {
    if (end === null || end - at > nearMs) continue;
    const how = end <= at ? 'was given until' : 'ends';
    output.say(`${titleOf(grant)} ${how} ${relativeTime(end, at)}.\n  → ${grantCommand('extend', grant)}`);
  }
}

const headings = ['NAME', 'PROVIDER', 'USER', 'STATE', 'SCOPES', 'EXPIRES', 'LAST USED'];

function endText(end: number | null, now: number): string {
  return end === null ? 'no end' : relativeTime(end, now);
}
