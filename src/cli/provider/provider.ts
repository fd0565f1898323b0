import { basename } from 'node:path';
import type { Context } from '../context.ts';
import { columns, details, table } from '../format.ts';
import { findProvider } from '../pick.ts';
import {
  carriedAs,
  carriedEverywhereAs,
  connectCommands,
  pastedAs,
  placeText,
  providerJson,
  waysOf,
} from './format.ts';
import { checkProvider, readProviderFile, settle } from '../../config/catalog.ts';
import { configInvalid } from '../../config/problem.ts';
import { isName } from '../../grants/grant.ts';
import type { Provider } from '../../grants/provider.ts';
import { SidekeyError } from '../../lib/errors.ts';

/**
 * `sidekey provider check FILE`: what a file of the catalog has to be, and how its parts have to fit together.
 *
 * @throws SidekeyError `config_missing`, `config_invalid` with every problem and its place
 */
export async function checkProviderFile({ output }: Context, path: string): Promise<void> {
  const entry = settle(readProviderFile(path), {});
  const problems = checkProvider(entry).map((misfit) => ({
    ...entry.document.position(misfit.path, 'key'),
    ...misfit,
  }));
  const name = basename(path).replace(/\.yaml$/, '');
  if (name === basename(path) || !isName(name)) {
    const message = 'the file must be called as the provider is, and end in .yaml';
    problems.push({ line: 1, column: 1, path: [], message });
  }
  if (problems.length > 0) throw configInvalid(path, problems);
  const { title, audience } = entry.definition;
  output.result({ file: path, name, valid: true }, `${path} is right: ${name} (${title}).`);
  output.say(
    `Its credential may be sent to ${audience.map(({ text }) => text).join(', ')}.\n` +
      '  → put it into the folder "providers" beside the config file, and it goes before a built-in one of that name',
  );
}

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
