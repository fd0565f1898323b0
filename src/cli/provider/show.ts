import type { Provider } from '../../grants/provider.ts';
import type { Context } from '../context.ts';
import { columns, details } from '../table.ts';
import { findProvider } from './find.ts';
import {
  carriedAs,
  carriedEverywhereAs,
  connectCommands,
  pastedAs,
  placeText,
  providerJson,
} from './words.ts';

/** `sidekey provider show`. Rejects with SidekeyError `provider_unknown`. */
export async function showProvider({ readConfig, output }: Context, name: string): Promise<void> {
  const provider = findProvider((await readConfig()).providers, name);
  const { clientId, clientSecret, clientAuth, scopes, token, dialect } = provider;
  const secret = clientSecret === null ? 'without a secret' : `with a secret, sent as ${clientAuth}`;
  const facts = details(`${name} (${provider.title})`, {
    audience: provider.audience.join(', ') || null,
    'carried as': carriedEverywhereAs(provider.inject) ?? 'depends on the place, see below',
    placeholders: provider.placeholders.join(', ') || null,
    'echoes at': provider.echoPlaces.join(', ') || null,
    'consent at': provider.authorizationEndpoint,
    'device code at': provider.deviceAuthorizationEndpoint,
    'tokens from': provider.tokenEndpoint,
    'revoked at': provider.revocationEndpoint ?? dialect.revocation.url,
    issuer: provider.issuer,
    client: provider.flows.length === 0 ? null : clientId === null ? 'none yet' : `${clientId}, ${secret}`,
    'redirect URI': provider.redirectUri,
    scopes: scopes.length === 0 ? null : scopes.join(' '),
    'pasted as': token === null ? null : pastedAs(token.carry, provider.inject),
    'proved by': provider.probe?.url ?? null,
  });
  output.result(providerJson(provider), [facts, ...sections(provider)].join('\n\n'));
}

function sections(provider: Provider): string[] {
  const { settings, knownScopes, notes, token, console: at } = provider;
  const isByPlace = carriedEverywhereAs(provider.inject) === null;
  return [
    section(
      isByPlace ? 'Carried as' : '',
      provider.inject.flatMap((place, index) => [carriedAs(place.as), `  ${placeText(place, index === 0)}`]),
    ),
    section(
      'Settings',
      columns(settings.map(({ name, what, value, example }) => [name, value ?? `(none; ${example})`, what])),
    ),
    section('Scopes to ask for', columns(knownScopes.map(({ name, what }) => [name, what]))),
    section(token === null ? '' : `To get the ${token.what}`, [
      ...(token?.url == null ? [] : [token.url]),
      ...(token?.steps ?? []),
    ]),
    section('To register a client', at === null ? [] : [at.url, ...at.steps]),
    section('To know', notes),
    section('Documentation', provider.docs),
    section('Connect', connectCommands(provider)),
  ].filter((text) => text !== '');
}

function section(title: string, lines: readonly string[]): string {
  return lines.length === 0 || title === ''
    ? ''
    : [`${title}:`, ...lines.map((line) => `  ${line}`)].join('\n');
}
