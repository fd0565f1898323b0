import { audited } from '../../audit/audited.ts';
import { shellWord } from '../../shell-word.ts';
import { failures } from '../../errors.ts';
import type { Grant } from '../../grants/grant.ts';
import type { Registry } from '../../grants/registry.ts';
import { connectionOf } from '../connect/auth0-login.ts';
import type { Context } from '../context.ts';
import { endGrant, thereToo, type EndOptions } from './end-grant.ts';
import { domainsOf } from './offered.ts';
import { grantGone, pickGrant } from './pick.ts';
import { titleOf } from './words.ts';

/**
 * `sidekey grant remove`: it is gone here whatever the provider says. Answers exit code 5 where the provider should have
 * been told, and was not.
 *
 * @throws SidekeyError what `pickGrant` throws; `audit_unavailable` where it cannot be recorded
 */
export async function removeGrant(
  context: Context,
  reference: string,
  options: EndOptions,
): Promise<number | void> {
  const { withState, output } = context;
  const { grant, domains, there, stranded } = await withState(async (state) => {
    const { grants, audit, config } = state;
    const all = await grants.list();
    const picked = pickGrant(all, { grant: reference, user: options.user });
    const { id, provider, user } = picked;
    const stranded = await livingOn(grants, all, id);
    // What was revoked has no credential any more that a provider could be told of.
    const local = options.local === true || picked.state === 'revoked';
    const { there } = await endGrant(context, state, id, { local }, () =>
      audited(audit, { event: 'grant.removed', grant: id, user, provider }, async () => {
        if (!(await grants.remove(id))) throw grantGone();
      }),
    );
    // Where another grant takes its place, the domain goes on to work.
    const left = all.filter((other) => other.id !== id);
    const orphaned = domainsOf(picked, all, config.domains).filter(
      (domain) => !left.some((other) => domainsOf(other, left, [domain]).length > 0),
    );
    return { grant: picked, domains: orphaned.map(({ pattern }) => pattern.text), there, stranded };
  });
  output.result(
    { id: grant.id, name: grant.name, user: grant.user, removed: true, at_provider: there.kind, domains },
    `Removed ${titleOf(grant)}${thereToo(there)}`,
  );
  if (there.kind !== 'ended' && grant.state !== 'revoked') output.say(there.sentence);
  if (stranded.length > 0) {
    output.say(
      `Grants that lived on this login get no new tokens any more: ${stranded.map(titleOf).join(', ')}.`,
    );
  }
  if (domains.length > 0) {
    output.say(`Requests to ${domains.join(', ')} are refused now: no grant is left for them.`);
    for (const domain of domains) output.say(`  → sidekey domain remove ${shellWord(domain)}`);
  }
  return there.kind === 'failed' ? failures.provider_refused.exit : undefined;
}

/** The grants whose tokens come by the refresh token of this one. */
async function livingOn(grants: Registry, all: readonly Grant[], login: string): Promise<readonly Grant[]> {
  const found: Grant[] = [];
  for (const grant of all) {
    const opened = grant.refreshable ? await grants.read(grant.id) : null;
    if (opened !== null && connectionOf(opened)?.via === login) found.push(grant);
  }
  return found;
}
