import { basename } from 'node:path';
import { checkProvider, readProviderFile, settle } from '../config/catalog.ts';
import { configInvalid } from '../config/problem.ts';
import { flowWords } from '../config/provider.ts';
import { isName } from '../domain/grant.ts';
import type { Flow, InjectPlace, Provider, TokenInjection } from '../domain/provider.ts';
import { SidekeyError } from '../lib/errors.ts';
import { carriedAs, schemeOf } from '../proxy/schemes/placement.ts';
import type { Context } from './context.ts';
import { columns, type Display, details, table } from './display.ts';
import { counted } from '../operations/format.ts';
import { findProvider } from '../operations/lookup.ts';

/** Place of the token, if all requests share it; null: it depends on the host or path. */
export function carriedEverywhereAs(places: Provider['inject']): string | null {
  const [only, ...more] = places;
  const isOne = only !== undefined && more.length === 0 && only.hosts === null && only.paths === null;
  return isOne ? carriedAs(only.as) : null;
}

/** Hosts and paths of a place, for people. */
export function placeText({ hosts, paths }: InjectPlace, isFirst: boolean): string {
  if (hosts === null && paths === null) return isFirst ? 'everywhere' : 'elsewhere';
  return [hosts === null ? 'everywhere at' : `at ${hosts.join(' ')}`, ...(paths ?? [])].join(' ');
}

/** Place of a pasted token, whose parts may have several places. */
export function pastedAs(carry: TokenInjection, places: Provider['inject']): string {
  switch (carry.kind) {
    case 'inject':
      // A pasted token is not bound to a key.
      return places[0]?.as.kind === 'dpop'
        ? carriedAs({ kind: 'bearer' })
        : (carriedEverywhereAs(places) ?? 'see below');
    case 'basic':
      return 'Authorization: Basic …';
    case 'headers':
      return carry.headers.map(([name]) => `${name}: …`).join(', ');
    case 'aws':
      return carriedEverywhereAs(places) ?? 'see below';
  }
}

/** Options of `sidekey connect` for each flow, besides the provider. */
const connectOptions: Readonly<Record<Flow | 'token', string>> = {
  authorization_code: '',
  device_code: ' --device',
  client_credentials: ' --client-credentials',
  jwt_bearer: ' --jwt-bearer --key FILE',
  token_exchange: ' --token-exchange',
  auth0_connection: ' --via auth0',
  github_installation: ' --app-id ID --installation-id ID --key FILE',
  aws_role: ' --assume-role ARN',
  token: ' --token',
};

/** Returns the command that connects to a provider by one flow. */
export function connectCommand(name: string, way: Flow | 'token'): string {
  return `sidekey connect ${name}${connectOptions[way]}`;
}

/** Returns the commands that connect to a provider, the default first. */
export function connectCommands({ name, flows, token }: Provider): readonly string[] {
  return [...flows, ...(token === null ? [] : (['token'] as const))].map((way) => connectCommand(name, way));
}

/** Returns one word per flow. */
export function waysOf({ flows, token }: Provider): string {
  return [...flows.map((flow) => flowWords[flow]), ...(token === null ? [] : ['key'])].join(', ') || '-';
}

/** Returns a provider's JSON with the config file's keys. Reveals only whether it has a client secret. */
export function providerJson(provider: Provider): Readonly<Record<string, unknown>> {
  const { inject, token, dialect } = provider;
  return {
    name: provider.name,
    title: provider.title,
    category: provider.category,
    docs: provider.docs,
    settings: Object.fromEntries(provider.settings.map(({ name, value }) => [name, value])),
    authorization_endpoint: provider.authorizationEndpoint,
    device_authorization_endpoint: provider.deviceAuthorizationEndpoint,
    token_endpoint: provider.tokenEndpoint,
    revocation_endpoint: provider.revocationEndpoint ?? dialect.revocation.url,
    userinfo_endpoint: provider.userinfoEndpoint,
    issuer: provider.issuer,
    client_id: provider.clientId,
    has_client_secret: provider.clientSecret !== null,
    client_auth: provider.clientAuth,
    redirect_uri: provider.redirectUri,
    dpop: provider.dpop === null ? false : { algorithm: provider.dpop },
    flows: provider.flows,
    scopes: provider.scopes,
    known_scopes: Object.fromEntries(provider.knownScopes.map(({ name, what }) => [name, what])),
    audience: provider.audience,
    domains: provider.domains,
    inject: writtenPlaces(inject),
    placeholders: provider.placeholders,
    unexpected_placeholders: provider.unexpectedPlaceholders,
    method_override_parameters: provider.methodOverrideParameters,
    echo_paths: provider.echoPaths,
    token:
      token === null
        ? null
        : {
            label: token.label,
            url: token.url,
            parts: token.parts.map(({ name }) => name),
            inject: token.inject.kind,
          },
    logins: provider.logins.map(({ program, clientId }) => ({ program, client_id: clientId })),
    capture_logins: provider.capturesLogins,
    probe: provider.probe?.url ?? null,
    notes: provider.notes,
    connect: connectCommands(provider),
  };
}

/** Places as in the config file. */
function writtenPlaces(places: Provider['inject']): unknown {
  const [only] = places;
  if (only !== undefined && carriedEverywhereAs(places) !== null) return schemeOf(only.as).format(only.as);
  return places.map(({ hosts, paths, as }) => ({
    ...(hosts === null ? {} : { hosts }),
    ...(paths === null ? {} : { paths }),
    as: schemeOf(as).format(as),
  }));
}

/**
 * `sidekey config check --provider FILE`: validates a file of the catalog.
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
  output.result({ file: path, name, valid: true }, `${path} is valid: ${name} (${title}).`);
  output.say(
    `Its credential may be sent to ${audience.map(({ text }) => text).join(', ')}.\n` +
      '  → put it into the folder "providers" next to the config file; it replaces a built-in provider of that name',
  );
}

/** `sidekey provider list [TEXT]` @throws SidekeyError `not_found` if the text matches none */
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
    `${table(
      output.display,
      ['NAME', 'TITLE', 'CATEGORY', 'CONNECT WITH', 'NEEDS FIRST'],
      found.map((provider) => [
        provider.name,
        provider.title,
        provider.category,
        waysOf(provider),
        needs(provider),
      ]),
      { least: ['CATEGORY', 'TITLE', 'NEEDS FIRST', 'CONNECT WITH'], floor: 18 },
    )}\n\n${counted(found.length, 'provider')}; sidekey provider show NAME says how to connect to one.`,
  );
}

function fits({ name, title, category }: Provider, text: string): boolean {
  return [name, title, category].some((word) => word.toLowerCase().includes(text));
}

/** Settings that a person must supply before connecting. */
function needs({ settings, flows, token, clientId }: Provider): string {
  const open = settings.filter(({ value }) => value === null).map(({ name }) => name);
  const needsClient =
    clientId === null &&
    token === null &&
    flows.some((flow) => flow !== 'github_installation' && flow !== 'jwt_bearer');
  return [...open, ...(needsClient ? ['a client id'] : [])].join(', ') || '-';
}

/** `sidekey provider show`. @throws SidekeyError `provider_unknown` */
export async function showProvider({ readConfig, output }: Context, name: string): Promise<void> {
  const provider = findProvider((await readConfig()).providers, name);
  const { clientId, clientSecret, clientAuth, scopes, token, dialect } = provider;
  const secret = clientSecret === null ? 'without a secret' : `with a secret, sent as ${clientAuth}`;
  const facts = details(output.display, `${name} (${provider.title})`, {
    audience: provider.audience.join(', ') || null,
    'carried as': carriedEverywhereAs(provider.inject) ?? 'depends on the place, see below',
    placeholders: provider.placeholders.join(', ') || null,
    'echoes at': provider.echoPaths.join(', ') || null,
    'consent at': provider.authorizationEndpoint,
    'device code at': provider.deviceAuthorizationEndpoint,
    'tokens from': provider.tokenEndpoint,
    'revoked at': provider.revocationEndpoint ?? dialect.revocation.url,
    'account at': provider.userinfoEndpoint,
    issuer: provider.issuer,
    client: provider.flows.length === 0 ? null : clientId === null ? 'none yet' : `${clientId}, ${secret}`,
    'redirect URI': provider.redirectUri,
    scopes: scopes.length === 0 ? null : scopes.join(' '),
    'pasted as': token === null ? null : pastedAs(token.inject, provider.inject),
    'proved by': provider.probe?.url ?? null,
  });
  output.result(providerJson(provider), [facts, ...sections(output.display, provider)].join('\n\n'));
}

function sections(display: Display, provider: Provider): string[] {
  const { settings, knownScopes, notes, token, clientRegistration: at } = provider;
  const isByPlace = carriedEverywhereAs(provider.inject) === null;
  return [
    section(
      isByPlace ? 'Carried as' : '',
      provider.inject.flatMap((place, index) => [carriedAs(place.as), `  ${placeText(place, index === 0)}`]),
    ),
    section(
      'Settings',
      columns(
        display,
        settings.map(({ name, description, value, example }) => [
          name,
          value ?? `(none; ${example})`,
          description,
        ]),
      ),
    ),
    section(
      'Scopes to ask for',
      columns(
        display,
        knownScopes.map(({ name, what }) => [name, what]),
      ),
    ),
    section(token === null ? '' : `To get the ${token.label}`, [
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
