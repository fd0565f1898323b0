import { recordChange } from '../audit/log.ts';
import { everything } from '../domain/lease.ts';
import { SidekeyError } from '../lib/errors.ts';
import type { Changing } from './operation.ts';

/**
 * The agent whose leases `sidekey run` creates by default. It has no token, so only a user who can write to
 * the store can act as it. It reaches everything until a user binds it to less.
 */
export const runAgent = 'run';

/** Creates the agent of `sidekey run` if it does not exist. An existing agent is not changed. */
export async function ensureRunAgent(
  { store, audit }: Pick<Changing, 'store' | 'audit'>,
  at: number,
): Promise<void> {
  if ((await store.agents.get(runAgent)) !== null) return;
  const agent = { name: runAgent, user: null, labels: [], disabledAt: null, createdAt: at };
  const event = { event: 'agent.added', agent: runAgent, reason: 'everything' } as const;
  try {
    await recordChange(audit, event, () => store.agents.insert(agent, { bindings: [everything] }));
  } catch (error) {
    // Another process may have created it concurrently.
    if (!(error instanceof SidekeyError) || error.code !== 'already_exists') throw error;
  }
}
