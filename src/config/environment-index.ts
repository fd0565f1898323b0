import { readFileSync } from 'node:fs';
import type { Provider } from '../grants/provider.ts';
import { shippedFile } from './locate.ts';
import type { CatalogProvider } from './provider.ts';
import type { Providers } from './providers.ts';

/** The `environment` of each shipped provider that has one, by name. */
type EnvironmentIndex = Readonly<Record<string, CatalogProvider['environment']>>;

/** Made by `npm run pages`: to read and check all definitions takes half a second. */
export const environmentIndexFile = 'environment-index.json';

let index: EnvironmentIndex | undefined;

/** Read once; it is part of the program. */
export function readEnvironmentIndex(): EnvironmentIndex {
  index ??= JSON.parse(readFileSync(shippedFile(environmentIndexFile), 'utf8')) as EnvironmentIndex;
  return index;
}

/** Of each provider, the environment variables in which programs look for its credential; those that have none are left out. */
export function credentialVariables(providers: Providers): readonly Pick<Provider, 'name' | 'environment'>[] {
  return providers.names
    .map((name) => ({ name, environment: providers.environment(name) }))
    .filter(({ environment }) => environment.length > 0);
}
