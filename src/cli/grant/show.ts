import { createFingerprint } from '../../inject/fingerprint.ts';
import type { Context } from '../context.ts';
import { details } from '../table.ts';
import { dateTime, relativeTime } from '../time.ts';
import { domainsOf } from './offered.ts';
import { grantGone, pickGrant } from './pick.ts';
import { expiryOf, grantJson, scopesOf, stateNow } from './words.ts';

/** `sidekey grant show`. Rejects with what `pickGrant` and the vault throw. */
export async function showGrant(
  { withView, output, now }: Context,
  reference: string,
  { user }: { readonly user?: string },
): Promise<void> {
  const found = await withView(async (view) => {
    const grants = await view.grants();
    const { id } = pickGrant(grants, { grant: reference, user });
    const [vault, registry] = await Promise.all([view.vault(), view.registry()]);
    const opened = (await registry?.read(id)) ?? null;
    if (vault === null || opened === null) throw grantGone();
    const fingerprint = createFingerprint((secret) => vault.mac('credential-fingerprint', secret));
    return {
      grant: opened.grant,
      audience: opened.sealed.audience,
      fingerprint: fingerprint(opened.sealed),
      domains: domainsOf(opened.grant, grants, view.config.domains).map(({ pattern }) => pattern.text),
    };
  });
  const { grant, audience, fingerprint, domains } = found;
  const at = now();
  output.result(
    { ...grantJson(grant, at), audience, fingerprint, domains },
    details(grant.name, {
      id: grant.id,
      provider: grant.provider,
      user: grant.user,
      type: grant.type,
      state: stateNow(grant, at),
      because: grant.stateReason,
      scopes: scopesOf(grant),
      expires: expiryOf(grant, at),
      'refresh token': grant.refreshable ? 'yes' : 'no',
      audience: audience.join(', '),
      'used by': domains.length === 0 ? 'no domain' : domains.join(', '),
      fingerprint,
      created: `${dateTime(grant.createdAt)} (${relativeTime(grant.createdAt, at)})`,
      updated: `${dateTime(grant.updatedAt)} (${relativeTime(grant.updatedAt, at)})`,
      revision: String(grant.revision),
    }),
  );
  if (domains.length === 0) output.say(`  → sidekey domain allow HOST --grant ${grant.name}`);
}
