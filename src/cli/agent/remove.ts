import { audited } from '../../audit/audited.ts';
import { SidekeyError } from '../../errors.ts';
import type { Context } from '../context.ts';
import { pickAgent, unknownAgent } from './pick.ts';

/** What is taken away. */
export interface RemoveOptions {
  /** The tokens of that label alone; the agent stays. */
  readonly tokenLabel?: string;
}

/**
 * `sidekey agent remove`: with its tokens, bindings and leases. Rejects with SidekeyError `not_found`, and
 * `audit_unavailable` where it cannot be recorded.
 */
export async function removeAgent(
  context: Context,
  name: string,
  { tokenLabel }: RemoveOptions,
): Promise<void> {
  if (tokenLabel !== undefined) {
    await removeTokens(context, name, tokenLabel);
    return;
  }
  const { withState, output } = context;
  await withState(async ({ store, audit }) => {
    pickAgent(await store.agents.list(), name);
    await audited(audit, { event: 'agent.removed', agent: name }, async () => {
      if (!(await store.agents.remove(name))) throw unknownAgent(name, []);
    });
  });
  output.result(
    { name, removed: true },
    `Removed the agent ${name}: its tokens and leases are refused from now on.`,
  );
}

async function removeTokens({ withState, output, now }: Context, name: string, label: string): Promise<void> {
  const count = await withState(async ({ store, audit }) => {
    pickAgent(await store.agents.list(), name);
    const tokens = await store.agentTokens.list(name);
    if (!tokens.some((token) => token.label === label && token.revokedAt === null)) {
      throw new SidekeyError('not_found', `The agent ${name} has no live token of that label.`, {
        hint: `sidekey agent show ${name}`,
      });
    }
    const event = { event: 'agent.token_revoked', agent: name, reason: `label ${label}` } as const;
    return audited(audit, event, () => store.agentTokens.revoke(name, label, now()));
  });
  output.result(
    { name, label, revoked: count },
    `Revoked ${count === 1 ? 'the token' : `${count} tokens`} ${label} of ${name}.`,
  );
}
