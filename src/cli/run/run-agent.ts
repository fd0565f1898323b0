import { audited } from '../../audit/audited.ts';
import { SidekeyError } from '../../errors.ts';
import { everything } from '../../grants/binding.ts';
import type { State } from '../../state.ts';

/**
 * Whose leases `sidekey run` makes where no agent is named. It has no token, so nobody is it who cannot write to the store,
 * and it reaches everything until a person narrows it.
 */
export const runAgent = 'run';

/** Makes the agent of `sidekey run` where it is not there yet. One that a person has changed stays as it is. */
export async function ensureRunAgent(
  { store, audit }: Pick<State, 'store' | 'audit'>,
  at: number,
): Promise<void> {
  if ((await store.agents.get(runAgent)) !== null) return;
  const agent = { name: runAgent, user: null, labels: [], disabledAt: null, createdAt: at };
  const event = { event: 'agent.added', agent: runAgent, reason: 'everything' } as const;
  try {
    await audited(audit, event, () => store.agents.insert(agent, { bindings: [everything] }));
  } catch (error) {
    // Two first runs at once.
    if (!(error instanceof SidekeyError) || error.code !== 'already_exists') throw error;
  }
}
