import { didYouMean } from '../../did-you-mean.ts';
import { SidekeyError } from '../../errors.ts';
import { isName } from '../../grants/grant.ts';
import type { Provider } from '../../grants/provider.ts';
import type { Providers } from '../../config/providers.ts';

/**
 * The provider of that name.
 *
 * @throws SidekeyError `provider_unknown`
 */
export function findProvider(providers: Providers, name: string): Provider {
  const provider = providers.get(name);
  if (provider !== undefined) return provider;
  const near = didYouMean(name, providers.names);
  // What cannot be a name may be a secret in the wrong place.
  const shown = isName(name) ? ` ${name}` : ' of that name';
  throw new SidekeyError(
    'provider_unknown',
    `There is no provider${shown}${near === null ? '.' : `; did you mean ${near}?`}`,
    { hint: 'sidekey provider list shows them; your own go under "providers" in the config file' },
  );
}
