import { dirname } from 'node:path';
import type { Config } from './config/config.ts';
import { isReference, parseSecretReference, readSecret } from './config/secret-reference.ts';
import { createNonces } from './dpop/nonces.ts';
import { SidekeyError } from './errors.ts';
import type { RefreshParts } from './grants/refresh-attempt.ts';
import type { State } from './state.ts';

/** What changes while a process runs. */
export interface RefreshOptions {
  /** What the config says when a refresh begins. */
  readonly config: () => Config;
  /** The way out at that moment: through the dial guard. */
  readonly fetch: () => typeof fetch;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Where `env:` references look. */
  readonly env: NodeJS.ProcessEnv;
}

/** What a refresh is made of, in the proxy and at the command line alike. */
export function refreshParts(
  { config: initial, grants, store, audit, activity }: State,
  { config, fetch, now, env }: RefreshOptions,
): Omit<RefreshParts, 'timers'> {
  const nonces = createNonces();
  return {
    registry: grants,
    store,
    providers: (name) => config().providers.get(name),
    refresh: async (request, { signal, proofKey }) => {
      // A start is sooner without the flows, and needs none.
      const { renew } = await import('./oauth/renewal.ts');
      return renew(request, { fetch: fetch(), now, signal, proofKey, nonces });
    },
    readSecret: (reference) => readReferenced(reference, { env, configFile: config().file }),
    now,
    skewMs: initial.tokens.skewMs,
    limits: initial.limits,
    audit,
    activity,
  };
}

/**
 * The secret that a reference of a grant stands for (`file:`, `env:`, `command:`), read now; paths and commands are
 * relative to the folder of the config file.
 *
 * @throws SidekeyError as `readSecret`; `input_invalid` where it is no reference
 */
async function readReferenced(
  reference: string,
  { env, configFile }: { readonly env: NodeJS.ProcessEnv; readonly configFile: string },
): Promise<string> {
  const parsed = parseSecretReference(reference);
  if (!isReference(parsed)) {
    throw new SidekeyError('input_invalid', `What the grant refers to ${parsed.problem}.`);
  }
  return readSecret(parsed, { env, cwd: dirname(configFile) });
}
