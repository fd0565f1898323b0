import type { Config } from './config/config.ts';
import type { RefreshParts } from './grants/refresh-attempt.ts';
import { refreshToken } from './oauth/refresh.ts';
import type { State } from './state.ts';

/** What changes while a process runs. */
export interface RefreshOptions {
  /** What the config says when a refresh begins. */
  readonly config: () => Config;
  /** The way out at that moment: through the dial guard. */
  readonly fetch: () => typeof fetch;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

/** What a refresh is made of, in the proxy and at the command line alike. */
export function refreshParts(
  { config: initial, grants, store, audit }: State,
  { config, fetch, now }: RefreshOptions,
): Omit<RefreshParts, 'timers'> {
  return {
    registry: grants,
    store,
    providers: (name) => config().providers.get(name),
    refresh: (request, { signal }) => refreshToken(request, { fetch: fetch(), now, signal }),
    now,
    skewMs: initial.tokens.skewMs,
    limits: initial.limits,
    audit,
  };
}
