import { deepFreeze } from './frozen.ts';
import type { Provider } from '../grants/provider.ts';

/**
 * The providers of a config. `get` gives the same object each time, so that what is remembered of a provider can be
 * remembered by identity.
 */
export interface Providers {
  /** All names, in order. */
  readonly names: readonly string[];
  /** Those that the config file itself defines. */
  readonly own: readonly string[];
  /** @throws SidekeyError `config_invalid` where the file of a built-in provider is wrong */
  get(name: string): Provider | undefined;
  /** Its `environment`, without the rest of it being read. */
  environment(name: string): Provider['environment'];
}

/** What providers of the catalog are made of. */
export interface BuiltIn {
  readonly names: readonly string[];
  /** Asked for each once. */
  readonly make: (name: string) => Provider | undefined;
  readonly environment: (name: string) => Provider['environment'];
}

/** @param own those of the config file, which go first */
export function createProviders(own: ReadonlyMap<string, Provider>, builtIn: BuiltIn): Providers {
  const made = new Map([...own].map(([name, provider]) => [name, deepFreeze(provider)]));
  return {
    names: [...new Set([...builtIn.names, ...own.keys()])].toSorted(),
    own: [...own.keys()],
    get(name) {
      const known = made.get(name);
      if (known !== undefined) return known;
      const provider = builtIn.make(name);
      if (provider !== undefined) made.set(name, deepFreeze(provider));
      return provider;
    },
    environment: (name) => made.get(name)?.environment ?? builtIn.environment(name),
  };
}
