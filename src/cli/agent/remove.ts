import { didYouMean } from '../../did-you-mean.ts';
import { SidekeyError } from '../../errors.ts';
import { isName } from '../../grants/grant.ts';
import { audited } from '../audited.ts';
import type { Context } from '../context.ts';

/**
 * `sidekey agent remove`. Rejects with SidekeyError `not_found`, and `audit_unavailable` where it cannot be recorded.
 */
export async function removeAgent({ withState, output }: Context, name: string): Promise<void> {
  await withState(async ({ store, audit }) => {
    const known = (await store.agents.list()).map((agent) => agent.name);
    if (!known.includes(name)) throw unknown(name, known);
    await audited(audit, { event: 'agent.removed', agent: name }, async () => {
      if (!(await store.agents.remove(name))) throw unknown(name, []);
    });
  });
  output.result({ name, removed: true }, `Removed the agent ${name}: its token is refused from now on.`);
}

function unknown(name: string, known: readonly string[]): SidekeyError {
  const near = didYouMean(name, known);
  // What cannot be a name may be a token in the wrong place.
  const shown = isName(name) && !name.startsWith('sidekey_agent_') ? ` ${name}` : ' of that name';
  return new SidekeyError(
    'not_found',
    `There is no agent${shown}${near === null ? '.' : `; did you mean ${near}?`}`,
    {
      hint: 'sidekey agent list',
    },
  );
}
