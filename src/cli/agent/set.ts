import { audited } from '../../audit/audited.ts';
import { SidekeyError } from '../../errors.ts';
import type { Context } from '../context.ts';
import { checkName } from '../names.ts';
import { pickAgent, unknownAgent } from './pick.ts';

/** What is said of an agent anew. */
export interface SetOptions {
  /** A user, or false: nobody in particular. */
  readonly for?: string | false;
  /** All of them, or false: none. */
  readonly agentLabel?: readonly string[] | false;
}

/** `sidekey agent set`: the user it acts for, and its labels. */
export async function setAgent(
  { withState, output }: Context,
  name: string,
  { for: user, agentLabel: labels }: SetOptions,
): Promise<void> {
  if (user === undefined && labels === undefined) {
    throw new SidekeyError('input_invalid', 'The command does not say what is to be set.', {
      hint: `sidekey agent set NAME --for USER | --no-for | --agent-label LABEL | --no-agent-label`,
    });
  }
  if (typeof user === 'string') checkName('user', user);
  if (Array.isArray(labels)) for (const label of labels) checkName('label', label);
  const change = {
    ...(user === undefined ? {} : { user: user === false ? null : user }),
    ...(labels === undefined ? {} : { labels: labels === false ? [] : [...new Set(labels)] }),
  };
  const agent = await withState(async ({ store, audit }) => {
    const before = pickAgent(await store.agents.list(), name);
    const reason = Object.entries(change)
      .map(([key, value]) => `${key} ${value === null || value.length === 0 ? 'none' : String(value)}`)
      .join(', ');
    await audited(audit, { event: 'agent.changed', agent: name, reason }, async () => {
      if (!(await store.agents.change(name, change))) throw unknownAgent(name, []);
    });
    return { ...before, ...change };
  });
  output.result(
    { name, acts_for: agent.user, labels: agent.labels },
    `${name} acts for ${agent.user ?? 'nobody in particular'}; its labels: ${agent.labels.join(', ') || 'none'}.`,
  );
}
