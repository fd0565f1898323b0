import type { RefreshParts } from '../../grants/refresh-attempt.ts';
import { systemTimers } from '../../grants/timers.ts';
import { refreshParts } from '../../refresh-parts.ts';
import type { State } from '../../state.ts';
import type { Exit } from '../../upstream/exit.ts';
import type { Context } from '../context.ts';

/** What a command asks providers with. */
export interface CommandParts {
  readonly context: Pick<Context, 'now' | 'env'>;
  readonly state: State;
  readonly exit: Exit;
}

/** What a refresh is made of for one command: the config does not change under it. */
export function commandParts({ context: { now, env }, state, exit }: CommandParts): RefreshParts {
  const parts = refreshParts(state, { config: () => state.config, fetch: () => exit.fetch, now, env });
  return { ...parts, timers: systemTimers };
}
