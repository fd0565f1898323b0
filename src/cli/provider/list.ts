import type { Provider } from '../../grants/provider.ts';
import type { Context } from '../context.ts';
import { table } from '../table.ts';
import { carriedAs, providerJson } from './words.ts';

/** `sidekey provider list` */
export async function listProviders({ readConfig, output }: Context): Promise<void> {
  const { providers } = await readConfig();
  const all = [...providers.values()].toSorted((a, b) => (a.name < b.name ? -1 : 1));
  output.result(
    all.map(providerJson),
    table(
      ['NAME', 'TITLE', 'OAUTH', 'CARRIED AS', 'AUDIENCE'],
      all.map((provider) => [
        provider.name,
        provider.title,
        oauthOf(provider),
        carriedAs(provider.inject),
        provider.audience.join(', '),
      ]),
    ),
  );
}

function oauthOf({ tokenEndpoint, clientId }: Provider): string {
  if (tokenEndpoint === null) return '-';
  return clientId === null ? 'needs a client' : 'yes';
}
