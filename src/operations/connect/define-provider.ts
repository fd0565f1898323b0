import { readConfigText } from '../../config/load.ts';
import { displayName } from '../../config/problem.ts';
import { type EntryValue, putValue } from '../../config/yaml-splice.ts';
import { isName } from '../../domain/grant.ts';
import type { Provider } from '../../domain/provider.ts';
import type { ServerChoice } from '../../grants/oauth/authorization-server.ts';
import { discover, discoverServer, type Discovered } from '../../grants/oauth/discovery.ts';
import { readScopes } from '../../grants/oauth/scopes.ts';
import { inputInvalid, SidekeyError } from '../../lib/errors.ts';
import { hintOf, remedy } from '../../lib/hint.ts';
import { shellWord } from '../../lib/text.ts';
import { authorityText, parseAbsoluteTarget } from '../../proxy/policy/authority.ts';
import { hostPattern } from '../credential-entry.ts';
import { checkName } from '../format.ts';
import { findProvider } from '../lookup.ts';
import type { Call } from '../operation.ts';
import { newClient, type NewClient } from './new-client.ts';
import { type ConfigParts, keptReference, writeProvider } from './provider-settings.ts';
import { redirectTarget, writtenRedirectUri } from './redirect.ts';
import type { ConnectOptions } from './request.ts';

/** Providers that the catalog lacks: discovered ones, and those whose endpoints a person named. */

interface Discovering extends ConfigParts, Pick<Call, 'withFetch' | 'now'>, Pick<ServerChoice, 'choose'> {
  /** True: refuses a client with a secret, because nothing could store it until the consent. */
  readonly isPublic?: boolean;
}

/**
 * `connect https://…`: discovers the login server of an API, registers a client if the server
 * supports it, and writes the definition to the config file. Never changes an existing definition. Returns
 * the new client too, whose secret no file contains; null: there is none.
 *
 * @throws SidekeyError errors of `discover` and `newClient`; `input_invalid`, `already_exists`,
 * `config_invalid`, `file_unwritable`, `audit_unavailable`
 */
export async function discoverProvider(
  parts: Discovering,
  address: string,
  options: ConnectOptions,
): Promise<{ readonly provider: Provider; readonly client: NewClient | null }> {
  const target = parseAbsoluteTarget(address);
  if (target?.authority.scheme !== 'https') {
    throw inputInvalid(
      '--discover takes the https address of an API.',
      'sidekey connect https://api.example.com',
    );
  }
  const host = authorityText(target.authority);
  const name = options.name ?? target.authority.host;
  if (!isName(name)) {
    throw inputInvalid(
      'The host is not a valid name of a provider.',
      'name it: --name NAME, of letters, digits, dots, dashes and underscores',
    );
  }
  const { output } = parts;
  const { providers, limits, file } = await parts.config();
  const existing = providers.names.includes(name) ? findProvider(providers, name) : null;
  const isFor = existing?.audience.includes(host) === true && coversAddress(existing, address);
  if (existing !== null && providers.own.includes(name) && isFor) {
    output.say(`The provider ${name} is in the config file already; it is used as it is.`);
    return { provider: existing, client: null };
  }
  if (existing !== null) {
    throw new SidekeyError(
      'already_exists',
      `There is a provider ${name} already, which is not for ${existing.audience.includes(host) ? address : host}.`,
      { hint: 'call this one by another name: --name NAME' },
    );
  }
  const { found, client } = await parts.withFetch(async (fetch) => {
    const io = {
      fetch,
      /** A new one for each request, because a person may choose between two of them. */
      get signal() {
        return AbortSignal.timeout(limits.refresh_timeout);
      },
    };
    const issuer = options.jwtBearer === true ? undefined : options.issuer;
    const discovered = await discover(address, io, { issuer, choose: parts.choose });
    // Port and path of the later listener.
    const redirectUri = writtenRedirectUri(redirectTarget(options));
    const wanted = {
      ...parts,
      server: discovered,
      provider: { ...discovered, scopes: discovered.knownScopes },
      redirectUri,
      options,
    };
    const client = options.clientId === undefined ? await newClient(wanted, io) : null;
    if (parts.isPublic === true && client !== null && client.clientAuth !== 'none') {
      const sentence = `${discovered.issuer} registers only clients with a secret.`;
      const hint = remedy('connect', { provider: address });
      throw new SidekeyError('provider_refused', sentence, { hint });
    }
    return { found: discovered, client };
  });
  const facts = { host, reason: `discovered at ${found.issuer}` };
  const provider = await addDefinition(parts, name, definitionOf(found, client, host), facts);
  output.say(
    `Found at ${found.issuer}, and kept in ${displayName(file)} as providers.${name}.` +
      (client === null ? '' : clientSentence(client)),
  );
  const server = new URL(found.tokenEndpoint).host;
  const login = new URL(found.authorizationEndpoint ?? found.tokenEndpoint).host;
  const after = login === server ? '' : `, after a login at ${login}`;
  if (server !== host || login !== server) {
    // No document proves that the servers belong to the API.
    output.say(
      `Note: Its tokens come from ${server}${after}, and are sent to ${host}: continue only if they belong together.`,
    );
  }
  return { provider, client };
}

function clientSentence({ clientId, own }: NewClient): string {
  return own.registered === undefined
    ? ` Its client ID is the address of a document, which the server must be able to read: ${clientId}.`
    : ` Sidekey registered itself there as the client ${clientId}.`;
}

/** Reports whether the tokens of a discovered provider are for this address: a host may have several APIs. */
function coversAddress({ dialect }: Provider, address: string): boolean {
  const { resource } = dialect.authorizationParameters;
  const text = address.replace(/\/$/, '');
  return resource === undefined || `${text}/`.startsWith(`${resource.replace(/\/$/, '')}/`);
}

/** Values of a new provider by their paths; null: the provider has none. */
type Definition = readonly (readonly [path: string, value: EntryValue | null])[];

/** Writes a new provider to the config file. Records it in the audit log first. @throws as `writeProvider` */
async function addDefinition(
  parts: ConfigParts,
  name: string,
  definition: Definition,
  facts: { readonly host?: string; readonly reason: string },
): Promise<Provider> {
  const { file } = await parts.config();
  const previous = await readConfigText(file);
  let text = previous;
  for (const [path, value] of definition)
    if (value !== null) text = putValue(text, ['providers', name, ...path.split('.')], value);
  return writeProvider(parts, name, { file, previous, text, readsSecret: true, ...facts });
}

/**
 * `connect NAME --auth-url URL [--token-url URL]`: writes an unknown OAuth service to the config file. Only
 * the hosts of `--allowed-domains` get its tokens. Without a token endpoint, the authorization server is
 * asked for its endpoints. Reuses a definition with the same endpoints.
 *
 * @throws SidekeyError `input_invalid`, `already_exists`, `config_invalid`, `file_unwritable`,
 * `audit_unavailable`; errors of `discoverServer`
 */
export async function defineProvider(
  parts: ConfigParts & Pick<Call, 'withFetch'>,
  name: string,
  options: ConnectOptions,
): Promise<void> {
  const { authUrl, tokenUrl, userinfoUrl, allowedDomains = [], scope, clientId, clientSecret } = options;
  checkName('name of the provider', name);
  const written = { '--auth-url': authUrl, '--token-url': tokenUrl, '--userinfo-url': userinfoUrl };
  const urls = Object.entries(written).flatMap(([option, url]) =>
    url === undefined ? [] : [{ option, url }],
  );
  for (const { option, url } of urls) {
    if (parseAbsoluteTarget(url)?.authority.scheme === 'https') continue;
    throw inputInvalid(`${option} is not an https address.`, `${option} https://login.example.com/oauth/…`);
  }
  const { providers, limits, file } = await parts.config();
  if (providers.names.includes(name)) {
    const isOwn = providers.own.includes(name);
    const { title, authorizationEndpoint, tokenEndpoint } = findProvider(providers, name);
    const differences = [
      ...differenceOf('--auth-url', authorizationEndpoint, authUrl ?? null),
      ...differenceOf('--token-url', tokenEndpoint, tokenUrl ?? tokenEndpoint),
    ];
    if (isOwn && differences.length === 0) return;
    const other = remedy('connect', {
      provider: `my-${name}`,
      auth_url: authUrl,
      token_url: tokenUrl,
      userinfo_url: userinfoUrl,
      allowed_domains: allowedDomains.length === 0 ? null : allowedDomains.join(','),
    });
    throw new SidekeyError(
      'already_exists',
      isOwn
        ? `The config file has a provider ${name} already, with ${differences.join(', and ')}.`
        : `${name} is the name of a built-in provider (${title}).`,
      {
        hint: isOwn
          ? hintOf`change it: ${remedy('config.edit')}; or use another name: ${other}`
          : hintOf`use another name: ${other}`,
      },
    );
  }
  if (allowedDomains.length === 0) {
    const command = urls.map(({ option, url }) => `${option} ${shellWord(url)}`).join(' ');
    throw inputInvalid(
      'No option names the hosts that may receive its tokens.',
      `sidekey connect ${name} ${command} --allowed-domains api.example.com`,
    );
  }
  const server =
    tokenUrl !== undefined || authUrl === undefined
      ? null
      : await parts.withFetch((fetch) =>
          discoverServer(authUrl, options.issuer ?? null, {
            fetch,
            signal: AbortSignal.timeout(limits.refresh_timeout),
          }),
        );
  const definition: Definition = [
    ...(server === null ? [] : serverEntries(server)),
    ['authorization_endpoint', authUrl ?? null],
    ['token_endpoint', tokenUrl ?? server?.tokenEndpoint ?? null],
    ['userinfo_endpoint', userinfoUrl ?? null],
    ['client_id', clientId ?? null],
    clientSecret === undefined
      ? ['client_auth', 'none']
      : ['client_secret', keptReference('--client-secret', clientSecret)],
    ['scopes', scope === undefined ? null : readScopes(scope)],
    ['audience', audienceOf(allowedDomains)],
  ];
  await addDefinition(parts, name, definition, { reason: 'defined at the command line' });
  const from = server === null ? '' : `, with what ${server.issuer} says of itself`;
  parts.output.say(`Saved providers.${name} in ${displayName(file)}${from}.`);
}

/** Returns how an endpoint of an existing provider differs from the one of an option, if it does. */
function differenceOf(option: string, existing: string | null, wanted: string | null): readonly string[] {
  return existing === wanted ? [] : [`${option} ${existing ?? 'unset'} instead of ${wanted ?? 'none'}`];
}

/**
 * `connect NAME --via LOGIN --connection NAME --allowed-domains HOST`: writes a service that only Auth0 gives
 * tokens of to the config file.
 *
 * @throws SidekeyError as `defineProvider`
 */
export async function defineByAuth0(
  parts: ConfigParts,
  name: string,
  { allowedDomains = [], scope }: ConnectOptions,
): Promise<void> {
  checkName('name of the provider', name);
  const definition: Definition = [
    ['flows', ['auth0_connection']],
    ['scopes', scope === undefined ? null : readScopes(scope)],
    ['audience', audienceOf(allowedDomains)],
  ];
  await addDefinition(parts, name, definition, { reason: 'defined at the command line' });
  const { file } = await parts.config();
  parts.output.say(`Saved providers.${name} in ${displayName(file)}.`);
}

function audienceOf(hosts: readonly string[]): readonly string[] {
  return hosts.map((text) => hostPattern('--allowed-domains', text).text);
}

function definitionOf(found: Discovered, client: NewClient | null, host: string): Definition {
  return [
    ...serverEntries(found),
    // The endpoint accepts only tokens with that scope.
    ['userinfo_endpoint', found.scopes.includes('openid') ? found.userinfoEndpoint : null],
    ['client_id', client?.clientId ?? null],
    ['client_auth', client?.clientAuth ?? null],
    ['redirect_uri', client?.redirectUri ?? null],
    ['scopes', found.scopes.length === 0 ? null : found.scopes],
    ['audience', [host]],
    ['dialect.authorization_parameters.prompt', found.asksConsent ? 'consent' : null],
    // RFC 8707: the API of the tokens.
    ['dialect.authorization_parameters.resource', found.resource],
    ['dialect.token_parameters.resource', found.resource],
  ];
}

function serverEntries(found: Discovered): Definition {
  return [
    ['authorization_endpoint', found.authorizationEndpoint],
    ['device_authorization_endpoint', found.deviceAuthorizationEndpoint],
    ['token_endpoint', found.tokenEndpoint],
    ['revocation_endpoint', found.revocationEndpoint],
    ['issuer', found.issuer],
    ['authorization_response_iss_parameter_supported', found.namesIssuer || null],
  ];
}
