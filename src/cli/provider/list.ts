import { SidekeyError } from '../../errors.ts';
import type { Provider } from '../../grants/provider.ts';
import type { Context } from '../context.ts';
import { table } from '../table.ts';
import { providerJson, waysOf } from './words.ts';

/**
 * `sidekey provider list [TEXT]`
 *
 * @throws SidekeyError `not_found` where a text fits none
 */
export async function listProviders({ readConfig, output }: Context, text?: string): Promise<void> {
  const { providers } = await readConfig();
  const all = providers.names.flatMap((name) => providers.get(name) ?? []);
  const found = text === undefined ? all : all.filter((provider) => fits(provider, text.toLowerCase()));
  if (found.length === 0) {
    throw new SidekeyError('not_found', 'No provider fits that text.', {
      hint: 'any API with a key: sidekey connect api-key --set host=HOST --token; any OpenID provider: sidekey connect https://HOST --discover',
    });
  }
  output.result(
    found.map(providerJson),
    table(
      ['NAME', 'TITLE', 'CATEGORY', 'CONNECT WITH', 'NEEDS FIRST'],
      found.map((provider) => [
        provider.name,
        provider.title,
        provider.category,
        waysOf(provider),
        needs(provider),
      ]),
    ),
  );
  output.say(`\n${found.length} providers; sidekey provider show NAME says how to connect to one.`);
}

function fits({ name, title, category }: Provider, text: string): boolean {
  return [name, title, category].some((word) => word.toLowerCase().includes(text));
}

/** What a person has to do before connecting. */
function needs({ settings, flows, token, clientId }: Provider): string {
  const open = settings.filter(({ value }) => value === null).map(({ name }) => name);
  const needsClient =
    clientId === null &&
    token === null &&
    flows.some((flow) => flow !== 'github_installation' && flow !== 'jwt_bearer');
  return [...open, ...(needsClient ? ['a client id'] : [])].join(', ') || '-';
}
