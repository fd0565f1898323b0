import { dirname } from 'node:path';
import type { Config } from '../config/config.ts';
import { readReference } from '../config/secret-reference.ts';
import type { IdentitySource } from '../grants/oauth/id-jag.ts';
import type { Sources } from '../grants/sources/ask.ts';
import type { SourceParts } from '../grants/sources/source.ts';
import { systemTimers } from '../lib/timers.ts';
import type { RenewalParts } from '../operations/operation.ts';
import { createNonces } from '../proxy/schemes/dpop-proof.ts';
import type { State } from './state.ts';

/** Parts of a refresh that change while the process runs. */
interface RefreshOptions {
  readonly config: () => Config;
  /** Guarded `fetch` in force. */
  readonly fetch: () => typeof fetch;
  readonly now: () => number;
  /** Environment of `env:` references. */
  readonly env: NodeJS.ProcessEnv;
  /** Replaces the addresses of clouds. */
  readonly clouds?: SourceParts['services'] | undefined;
}

/** Returns the parts of a refresh, for the proxy and the command line. */
export function refreshParts(
  { config: initial, grants, store, vault, audit, activity }: State,
  { config, fetch, now, env, clouds }: RefreshOptions,
): RenewalParts {
  const nonces = createNonces();
  let opened: Promise<Sources> | undefined;
  /** Loaded on use: a start needs no source. */
  const openSources = async () => {
    const [{ createSources }, { cloudServices }, { createVaultReader }] = await Promise.all([
      import('../grants/sources/ask.ts'),
      import('../grants/sources/cloud-source.ts'),
      import('./vault-source.ts'),
    ]);
    const vault = createVaultReader({ config, env, now });
    const [cwd, services] = [dirname(config().file), clouds ?? cloudServices];
    return createSources({ env, cwd, platform: process.platform, now, fetch, services, vault });
  };
  const sources = () => (opened ??= openSources());
  const identity: IdentitySource = async (account) => {
    const { identitySource } = await import('../operations/kept-sign-in.ts');
    return identitySource({ store, vault, config: config(), fetch: fetch(), now, env })(account);
  };
  return {
    registry: grants,
    store,
    providers: (name) => config().providers.get(name),
    refresh: async (request, io) => {
      // Loaded on use: a start needs no flow.
      const { renew } = await import('../grants/oauth/renewal.ts');
      return renew(request, { ...io, fetch: fetch(), now, nonces, identity });
    },
    readSecret: (reference, isTrial) =>
      readReference(reference, { env, cwd: dirname(config().file), isTrial }),
    sources: {
      ask: async (question) => (await sources()).ask(question),
      check: async (credential) => (await sources()).check(credential),
    },
    now,
    skewMs: initial.tokens.skewMs,
    limits: initial.limits,
    audit,
    activity,
    timers: systemTimers,
  };
}
