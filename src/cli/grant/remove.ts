import { shellWord } from '../../shell-word.ts';
import { audited } from '../audited.ts';
import type { Context } from '../context.ts';
import { domainsOf } from './offered.ts';
import { grantGone, pickGrant } from './pick.ts';
import { titleOf } from './words.ts';

/**
 * `sidekey grant remove`. Rejects with what `pickGrant` throws, and `audit_unavailable` where it cannot be recorded.
 */
export async function removeGrant(
  { withState, output }: Context,
  reference: string,
  { user }: { readonly user?: string },
): Promise<void> {
  const { grant, domains } = await withState(async ({ grants, audit, config }) => {
    const all = await grants.list();
    const picked = pickGrant(all, { grant: reference, user });
    const { id, provider } = picked;
    await audited(audit, { event: 'grant.removed', grant: id, user: picked.user, provider }, async () => {
      if (!(await grants.remove(id))) throw grantGone();
    });
    // Where another grant takes its place, the domain goes on to work.
    const left = all.filter((other) => other.id !== id);
    const orphaned = domainsOf(picked, all, config.domains).filter(
      (domain) => !left.some((other) => domainsOf(other, left, [domain]).length > 0),
    );
    return { grant: picked, domains: orphaned.map(({ pattern }) => pattern.text) };
  });
  output.result(
    { id: grant.id, name: grant.name, user: grant.user, removed: true, domains },
    `Removed ${titleOf(grant)} and its credential.`,
  );
  if (domains.length > 0) {
    output.say(`Requests to ${domains.join(', ')} are refused now: no grant is left for them.`);
    for (const domain of domains) output.say(`  → sidekey domain remove ${shellWord(domain)}`);
  }
}
