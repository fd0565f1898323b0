import type { Provider } from '../grants/provider.ts';
import type { Providers } from './providers.ts';

/** Of each provider, the environment variables in which programs look for its credential; those that have none are left out. */
export function credentialVariables(providers: Providers): readonly Pick<Provider, 'name' | 'environment'>[] {
  return providers.names
    .map((name) => ({ name, environment: providers.environment(name) }))
    .filter(({ environment }) => environment.length > 0);
}
