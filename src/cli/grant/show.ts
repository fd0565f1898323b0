import { replaceCommand } from '../../grants/replace-command.ts';
import { stateNow } from '../../grants/state-now.ts';
import { createFingerprint } from '../../inject/fingerprint.ts';
import { grantEnded } from '../../proxy/right-refusal.ts';
import type { Context } from '../context.ts';
import { details } from '../table.ts';
import { dateTime, relativeTime } from '../time.ts';
import { boundKeyJson, boundKeyOf, boundKeyText } from './bound-key.ts';
import { certificateJson, certificateRows } from './certificate-words.ts';
import { clockJson, clockRows } from './clock-words.ts';
import { clocksOf } from './clocks.ts';
import { domainsOf } from './offered.ts';
import { lackedBy, lackedJson, lackedText } from './lacked.ts';
import { grantGone, pickGrant } from './pick.ts';
import { policyJson, policyRows } from './policy-words.ts';
import { reachedBy, reachedByJson, reachedByRows } from './reached-by.ts';
import { accountOf, grantJson, renewedBy, scopesOf } from './words.ts';

/** `sidekey grant show`. Rejects with what `pickGrant` and the vault throw. */
export async function showGrant(
  { withView, output, now }: Context,
  reference: string,
  { user }: { readonly user?: string },
): Promise<void> {
  const at = now();
  const found = await withView(async (view) => {
    const grants = await view.grants();
    const { id } = pickGrant(grants, { grant: reference, user });
    const [vault, registry] = await Promise.all([view.vault(), view.registry()]);
    const opened = (await registry?.read(id)) ?? null;
    if (vault === null || opened === null) throw grantGone();
    const { grant, sealed } = opened;
    const { providers, tokens, domains } = view.config;
    const provider = providers.get(grant.provider);
    const activity = (await view.store?.activity.get(id)) ?? null;
    const rights = (await view.store?.rights.read()) ?? null;
    const fingerprint = createFingerprint((secret) => vault.mac('credential-fingerprint', secret));
    return {
      grant,
      account: sealed.details ?? {},
      certificate: { json: certificateJson(sealed.credential), rows: certificateRows(sealed.credential, at) },
      clocks: clocksOf(opened, { activity, dialect: provider?.dialect ?? null, tokens, now: at }),
      lacked: lackedBy(opened, activity, provider),
      renewed: renewedBy(sealed.credential),
      boundKey: boundKeyOf(sealed.credential),
      bound: boundKeyText(sealed.credential, provider),
      audience: sealed.audience,
      fingerprint: fingerprint(sealed),
      domains: domainsOf(grant, grants, domains).map(({ pattern }) => pattern.text),
      policy: rights?.policies.find(({ grantId }) => grantId === id) ?? null,
      reached: reachedBy(grant, rights, at),
      proxy: view.config.proxy,
      consentCommand: replaceCommand(grant, [], provider),
    };
  });
  const { grant, account, clocks, lacked, renewed, audience, fingerprint, domains, consentCommand } = found;
  const { policy, reached, proxy, certificate, boundKey, bound } = found;
  output.result(
    {
      ...grantJson(grant, at),
      lacked_scopes: lackedJson(lacked),
      ...clockJson(clocks),
      renewed_by: renewed,
      dpop: boundKeyJson(boundKey),
      account,
      ...certificate.json,
      audience,
      fingerprint,
      domains,
      policy: policyJson(policy),
      reached_by: reachedByJson(reached),
    },
    details(grant.name, {
      id: grant.id,
      provider: grant.provider,
      user: grant.user,
      account: accountOf(account),
      type: grant.type,
      ...certificate.rows,
      state: stateNow(grant, at),
      because: grant.stateReason,
      scopes: scopesOf(grant),
      'missing scopes': lackedText(lacked, at),
      ...clockRows(grant, clocks, at),
      'renewed by': renewed?.replaceAll('_', ' ') ?? 'nothing',
      'bound to': bound,
      audience: audience.join(', '),
      'used by': domains.length === 0 ? 'no domain' : domains.join(', '),
      ...reachedByRows(reached, proxy, at),
      ...policyRows(policy, at),
      fingerprint,
      created: `${dateTime(grant.createdAt)} (${relativeTime(grant.createdAt, at)})`,
      updated: `${dateTime(grant.updatedAt)} (${relativeTime(grant.updatedAt, at)})`,
      revision: String(grant.revision),
    }),
  );
  const ended = grantEnded(grant, policy, at);
  if (ended !== null) output.say(`${ended.message}\n  → ${ended.hint}`);
  if (clocks.next.what === 'consent') output.say(`  → ${consentCommand}`);
  if (lacked !== null) output.say(`  → ${lacked.command}`);
  if (domains.length === 0) output.say(`  → sidekey domain allow HOST --grant ${grant.name}`);
}
