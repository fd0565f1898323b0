import { didYouMean } from '../../did-you-mean.ts';
import { SidekeyError } from '../../errors.ts';
import { isName } from '../../grants/grant.ts';
import type { AgentRecord } from '../../store/rights.ts';

/**
 * The agent of this name.
 * @throws SidekeyError `not_found`
 */
export function pickAgent(agents: readonly AgentRecord[], name: string): AgentRecord {
  const found = agents.find((agent) => agent.name === name);
  if (found !== undefined) return found;
  throw unknownAgent(
    name,
    agents.map((agent) => agent.name),
  );
}

/** Nobody of that name, or no more. */
export function unknownAgent(name: string, known: readonly string[]): SidekeyError {
  const near = didYouMean(name, known);
  // What cannot be a name may be a token in the wrong place.
  const shown = isName(name) && !/^sidekey_(?:agent|lease)_/.test(name) ? ` ${name}` : ' of that name';
  return new SidekeyError(
    'not_found',
    `There is no agent${shown}${near === null ? '.' : `; did you mean ${near}?`}`,
    { hint: 'sidekey agent list' },
  );
}
