import { audited } from '../../audit/audited.ts';
import type { Context } from '../context.ts';
import { pickAgent, unknownAgent } from './pick.ts';

/** `sidekey agent disable`: its tokens and leases are refused from the next request on, and nothing of it is lost. */
export async function disableAgent(context: Context, name: string): Promise<void> {
  await set(context, name, true);
}

/** `sidekey agent enable`: they are good again, as far as they have not ended by themselves. */
export async function enableAgent(context: Context, name: string): Promise<void> {
  await set(context, name, false);
}

async function set({ withState, output, now }: Context, name: string, disabled: boolean): Promise<void> {
  const changed = await withState(async ({ store, audit }) => {
    const agent = pickAgent(await store.agents.list(), name);
    if ((agent.disabledAt !== null) === disabled) return false;
    const event = { event: disabled ? 'agent.disabled' : 'agent.enabled', agent: name } as const;
    await audited(audit, event, async () => {
      if (!(await store.agents.change(name, { disabledAt: disabled ? now() : null })))
        throw unknownAgent(name, []);
    });
    return true;
  });
  const state = disabled ? 'disabled' : 'enabled';
  output.result(
    { name, disabled, changed },
    changed
      ? `The agent ${name} is ${state}${disabled ? ': its tokens and leases are refused from now on' : ''}.`
      : `The agent ${name} was ${state} before; nothing has changed.`,
  );
}
