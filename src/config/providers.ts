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
}

/** @param make a provider of the catalog; asked for each once */
export function createProviders(
  own: ReadonlyMap<string, Provider>,
  builtIn: readonly string[],
  make: (name: string) => Provider | undefined,
): Providers {
  const made = new Map([...own].map(([name, provider]) => [name, deepFreeze(provider)]));
  return {
    names: [...new Set([...builtIn, ...own.keys()])].toSorted(),
    own: [...own.keys()],
    get(name) {
      const known = made.get(name);
      if (known !== undefined) return known;
      const provider = make(name);
      if (provider !== undefined) made.set(name, deepFreeze(provider));
      return provider;
    },
  };
}
