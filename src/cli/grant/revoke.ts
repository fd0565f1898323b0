import { audited } from '../../audit/audited.ts';
import { failures } from '../../errors.ts';
import type { Grant } from '../../grants/grant.ts';
import type { Registry } from '../../grants/registry.ts';
import { replaceCommand } from '../../grants/replace-command.ts';
import type { Context } from '../context.ts';
import { endGrant, thereToo, type EndOptions } from './end-grant.ts';
import { grantGone, pickGrant } from './pick.ts';
import { grantJson, titleOf } from './words.ts';

/**
 * `sidekey grant revoke`: the credential is of no use here whatever the provider says. Answers exit code 5 where the
 * provider should have been told, and was not.
 *
 * @throws SidekeyError what `pickGrant` throws; `audit_unavailable` where it cannot be recorded
 */
export async function revokeGrant(
  context: Context,
  reference: string,
  options: EndOptions,
): Promise<number | void> {
  const { withState, output, now } = context;
  const { grant, provider, there } = await withState(async (state) => {
    const { grants, audit, config } = state;
    const picked = pickGrant(await grants.list(), { grant: reference, user: options.user });
    const { id, user, provider: name } = picked;
    const provider = config.providers.get(name);
    if (picked.state === 'revoked') return { grant: picked, provider, there: null };
    const ended = await endGrant(context, state, id, options, () =>
      audited(audit, { event: 'grant.revoked', grant: id, user, provider: name }, () => revoke(grants, id)),
    );
    return { grant: ended.here, provider, there: ended.there };
  });
  output.result(
    { ...grantJson(grant, now()), changed: there !== null, at_provider: there?.kind ?? null },
    there === null
      ? `${titleOf(grant)} was revoked before; nothing has changed.`
      : `Revoked ${titleOf(grant)}${thereToo(there)}`,
  );
  if (there !== null && there.kind !== 'ended') output.say(there.sentence);
  output.say(`To use it again:\n  → ${replaceCommand(grant, [], provider)}`);
  return there?.kind === 'failed' ? failures.provider_refused.exit : undefined;
}

/** A refresh that ends at the same moment does not undo it. */
async function revoke(grants: Registry, id: string): Promise<Grant> {
  for (;;) {
    const stored = await grants.read(id);
    if (stored === null) throw grantGone();
    const grant = await grants.setState(stored.grant, 'revoked', 'revoked at the command line');
    if (grant !== null) return grant;
  }
}
