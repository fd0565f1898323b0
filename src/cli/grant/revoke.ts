import type { Grant } from '../../grants/grant.ts';
import type { Registry } from '../../grants/registry.ts';
import { replaceCommand } from '../../grants/replace-command.ts';
import { audited } from '../audited.ts';
import type { Context } from '../context.ts';
import { grantGone, pickGrant } from './pick.ts';
import { grantJson, titleOf } from './words.ts';

/**
 * `sidekey grant revoke`. Rejects with what `pickGrant` throws, and `audit_unavailable` where it cannot be recorded.
 */
export async function revokeGrant(
  { withState, output, now }: Context,
  reference: string,
  { user }: { readonly user?: string },
): Promise<void> {
  const { grant, changed } = await withState(async ({ grants, audit }) => {
    const picked = pickGrant(await grants.list(), { grant: reference, user });
    if (picked.state === 'revoked') return { grant: picked, changed: false };
    const { id, provider } = picked;
    const event = { event: 'grant.revoked', grant: id, user: picked.user, provider } as const;
    return { grant: await audited(audit, event, () => revoke(grants, id)), changed: true };
  });
  const title = titleOf(grant);
  output.result(
    { ...grantJson(grant, now()), changed },
    changed
      ? `Revoked ${title}: its credential is sent nowhere any more.`
      : `${title} was revoked before; nothing has changed.`,
  );
  output.say(
    'The provider is not told in this version: where the token itself may be known to others, revoke it there too.',
  );
  output.say(`To use it again:\n  → ${replaceCommand(grant)}`);
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
