import { recordChange } from '../../audit/log.ts';
import { type ProviderEdit, setProvider, writeConfigAtomically } from '../../config/edit.ts';
import { parseConfig, readConfigText } from '../../config/load.ts';
import { displayName } from '../../config/problem.ts';
import { type EntryValue, putValue } from '../../config/yaml-splice.ts';
import { type Grant, isName } from '../../domain/grant.ts';
import type { Provider } from '../../domain/provider.ts';
import { inputInvalid, SidekeyError } from '../../lib/errors.ts';
import { hintText } from '../../lib/hint.ts';
import { orMeant, shellWord } from '../../lib/text.ts';
import {
  discover,
  type Discovered,
  registerClient,
  type RegisteredClient,
} from '../../grants/oauth/discovery.ts';
import { registrationSteps, scopesFor } from '../../grants/consent.ts';
import { readScopes } from '../../grants/oauth/scopes.ts';
import { authorityText, parseAbsoluteTarget } from '../../proxy/policy/authority.ts';
import { type Context, withUpstreamClient } from '../context.ts';
import { checkName } from '../../operations/format.ts';
import { hostPattern } from '../../operations/credential-entry.ts';
import { findProvider } from '../../operations/lookup.ts';
import { connectRemedy } from '../../operations/provider.ts';
import { keptReference } from './allowed-domains.ts';
import { redirectTarget, writtenRedirectUri } from './browser/browser.ts';
import type { ConnectOptions } from './request.ts';

/** Checks that all settings have values, before anything is sent. @throws SidekeyError `input_invalid` */
export function assertSettings({ name, title, settings }: Provider): void {
  const open = settings.filter(({ value }) => value === null);
  if (open.length === 0) return;
  const what = open.map((setting) => `${setting.name} (${setting.description})`).join(', ');
  const set = open.map((setting) => `--set ${setting.name}=${shellWord(setting.example)}`).join(' ');
  throw new SidekeyError('input_invalid', `${title} needs to know: ${what}.`, {
    hint: `with your own value instead of the example: sidekey connect ${name} ${set}`,
  });
}

/**
 * Checks that a consent in a browser is possible.
 *
 * @param redirectUri the redirect URI to register
 * @param asks true if the client secret can be typed
 * @throws SidekeyError `input_invalid`, `config_invalid`; errors of the client secret
 */
export async function assertClient(provider: Provider, redirectUri: string, asks: boolean): Promise<void> {
  const { name, title, authorizationEndpoint, tokenEndpoint, clientId } = provider;
  if (authorizationEndpoint === null) {
    throw new SidekeyError('input_invalid', `${title} gives no consent in a browser.`, {
      hint: otherWays(provider) ?? `set providers.${name}.authorization_endpoint, where it has one`,
    });
  }
  if (tokenEndpoint === null) {
    throw new SidekeyError('config_invalid', `Nothing says where the provider ${name} issues tokens.`, {
      hint: `set providers.${name}.token_endpoint`,
    });
  }
  if (clientId === null) throw noClient(provider, redirectUri, asks);
  // Read before the consent, because the code expires soon.
  await provider.clientSecret?.();
}

function noClient(provider: Provider, redirectUri: string, asks: boolean): SidekeyError {
  const { name, title, clientAuth } = provider;
  const variable = name
    .toUpperCase()
    .replace(/[^A-Z0-9]+/g, '_')
    .replace(/^(?=[0-9])/, '_');
  const secret = clientAuth === 'none' || asks ? '' : ` --client-secret env:${variable}_CLIENT_SECRET`;
  const command = `sidekey connect ${name} --client-id ID${secret} --redirect-uri ${redirectUri}${redirectUri.startsWith('https:') ? ' --paste' : ''}`;
  const lines = registrationSteps(provider, redirectUri).join('\n    ');
  // A device code needs a client too.
  const others = otherWays({
    ...provider,
    token: null,
    flows: provider.flows.filter((flow) => flow !== 'device_code'),
  });
  return new SidekeyError(
    'input_invalid',
    `You need an OAuth client of your own at ${title}: providers.${name} has no client_id.`,
    {
      hint: [
        // A key works at once.
        ...(provider.token === null ? [] : [hintText(connectRemedy(name, 'token'))]),
        lines,
        command,
        ...(others === null ? [] : [others]),
      ].join('\n  → '),
    },
  );
}

/** Returns the commands for flows without a browser; null: none. */
function otherWays({ name, flows, token }: Provider): string | null {
  const others = [
    ...(token === null ? [] : (['token'] as const)),
    ...flows.filter((flow) => flow !== 'authorization_code' && flow !== 'auth0_connection'),
  ];
  if (others.length === 0) return null;
  return others.map((flow) => hintText(connectRemedy(name, flow))).join('\n  → ');
}

type ProviderOptions = Pick<ConnectOptions, 'set' | 'clientId' | 'clientSecret' | 'redirectUri'>;

/**
 * Writes the provider's options to the config file, and returns the provider.
 *
 * @throws SidekeyError `provider_unknown`, `input_invalid`, `config_invalid`, `file_unwritable`,
 * `audit_unavailable`
 */
export async function configuredProvider(
  context: Context,
  name: string,
  options: ProviderOptions,
): Promise<Provider> {
  const { clientId, clientSecret, set = [] } = options;
  if (clientId === undefined && clientSecret === undefined && set.length === 0) {
    return findProvider((await context.config()).providers, name);
  }
  const { env, output } = context;
  const file = await context.configFile();
  const previous = await readConfigText(file);
  const provider = findProvider((await parseConfig(previous, file, { env })).providers, name);
  const { text, changed } = setProvider(previous, name, editFrom(options, provider));
  const edited = findProvider((await parseConfig(text, file, { env })).providers, name);
  // An unreadable secret changes nothing.
  if (clientSecret !== undefined) await edited.clientSecret?.();
  if (changed.length > 0) {
    const event = { event: 'provider.changed', provider: name, reason: changed.join(', ') } as const;
    await context.withState(({ audit }) =>
      recordChange(audit, event, () => writeConfigAtomically(file, text, { env, previous, isLocal: true })),
    );
    output.say(`Saved ${changed.join(', ')} of providers.${name} in ${displayName(file)}.`);
  }
  return edited;
}

function editFrom(
  { clientId, clientSecret, redirectUri, set = [] }: ProviderOptions,
  provider: Provider,
): ProviderEdit {
  if (clientId !== undefined && !/^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/.test(clientId)) {
    throw new SidekeyError('input_invalid', '--client-id is not one line of plain text.', {
      hint: 'copy it from the page where the client is registered',
    });
  }
  return {
    clientId,
    clientSecret: clientSecret === undefined ? undefined : keptReference('--client-secret', clientSecret),
    // `none` is for definitions without a secret. With one, the client authenticates as in RFC 6749 §2.3.1.
    clientAuth: clientSecret !== undefined && provider.clientAuth === 'none' ? 'basic' : undefined,
    // Redirect URI of the client named with it.
    redirectUri: clientId === undefined ? undefined : redirectUri,
    settings: Object.fromEntries(set.map((text) => setting(text, provider))),
  };
}

function setting(text: string, { name, title, settings }: Provider): readonly [name: string, value: string] {
  const [, key, value = ''] = /^([A-Za-z0-9_-]+)=(.+)$/s.exec(text) ?? [];
  if (key === undefined) {
    throw new SidekeyError('input_invalid', '--set takes NAME=VALUE.', {
      hint: settings.map((known) => `--set ${known.name}=${known.example}`).join(' ') || undefined,
    });
  }
  const names = settings.map((known) => known.name);
  if (names.includes(key)) return [key, value];
  throw new SidekeyError(
    'input_invalid',
    names.length === 0
      ? `${title} has nothing to set.`
      : `${title} has no setting ${key}${orMeant(key, names, '')}`,
    { hint: names.length === 0 ? 'leave --set out' : `sidekey provider show ${name} says which there are` },
  );
}

/**
 * Returns the scopes to request: those of the option, else of the provider, plus those of the existing grant,
 * which a new consent replaces.
 *
 * @throws SidekeyError `input_invalid` as `readScopes`
 */
export function scopesToAsk(
  written: readonly string[] | undefined,
  provider: Pick<Provider, 'scopes'>,
  existing: Pick<Grant, 'scopes' | 'state' | 'type'> | null,
): readonly string[] {
  return scopesFor(written && readScopes(written), provider, existing);
}

/** Parameters that flows set, and those that would expose a secret in argv. */
const reservedParameters = new Set([
  'grant_type',
  'client_id',
  'client_secret',
  'client_assertion',
  'client_assertion_type',
  'assertion',
  'scope',
  'refresh_token',
  'subject_token',
  'subject_token_type',
  'actor_token',
  'actor_token_type',
  'requested_token_type',
  'device_code',
  'code',
  'password',
]);

/**
 * Parses `--param NAME=VALUE` for token requests.
 *
 * @throws SidekeyError `input_invalid` if a name is missing, repeated or reserved
 */
export function parametersOf(written: readonly string[] | undefined): Readonly<Record<string, string>> {
  const parameters: Record<string, string> = {};
  for (const text of written ?? []) {
    const at = text.indexOf('=');
    const name = text.slice(0, Math.max(at, 0));
    if (!/^[A-Za-z][A-Za-z0-9_.:-]{0,63}$/.test(name)) {
      // The text may be a misplaced secret.
      throw inputInvalid('--param is not NAME=VALUE.', 'such as --param audience=https://api.example.com');
    }
    if (reservedParameters.has(name))
      throw inputInvalid(
        `--param cannot set ${name}.`,
        'there is another option for it: sidekey connect --help',
      );
    if (Object.hasOwn(parameters, name)) throw inputInvalid(`--param sets ${name} twice.`, 'leave one out');
    parameters[name] = text.slice(at + 1);
  }
  return parameters;
}

type DiscoverOptions = Pick<ConnectOptions, 'name' | 'clientId' | 'port' | 'redirectUri'>;

/**
 * `connect https://… --discover`: discovers the login server of an API, registers a client if the server
 * supports it, and writes the definition to the config file. Never changes an existing definition. Returns
 * the secret of the registered client too, which no file contains; null: there is none.
 *
 * @throws SidekeyError errors of `discover` and `registerClient`; `input_invalid`, `already_exists`,
 * `config_invalid`, `file_unwritable`, `audit_unavailable`
 */
export async function discoverProvider(
  context: Context,
  address: string,
  options: DiscoverOptions,
): Promise<{ readonly provider: Provider; readonly clientSecret: string | null }> {
  const target = parseAbsoluteTarget(address);
  if (target?.authority.scheme !== 'https') {
    throw new SidekeyError('input_invalid', '--discover takes the https address of an API.', {
      hint: 'sidekey connect https://api.example.com --discover',
    });
  }
  const { authority } = target;
  const host = authorityText(authority);
  const name = nameFor(authority.host, options.name);
  const { output, env } = context;
  const config = await context.config();
  if (config.providers.own.includes(name)) {
    const provider = findProvider(config.providers, name);
    if (!provider.audience.includes(host)) throw taken(name, host);
    output.say(`The provider ${name} is in the config file already; it is used as it is.`);
    return { provider, clientSecret: null };
  }
  if (config.providers.names.includes(name)) throw taken(name, host);

  const { found, client } = await withUpstreamClient(config, env, async ({ fetch }) => {
    const io = { fetch, signal: AbortSignal.timeout(config.limits.refresh_timeout) };
    const discovered = await discover(address, io);
    return { found: discovered, client: await clientFor(discovered, options, io) };
  });
  const { provider, file } = await addDefinition(context, name, definitionOf(found, client, host), {
    host,
    reason: `discovered at ${found.issuer}`,
  });
  output.say(
    `Found at ${found.issuer}, and kept in ${displayName(file)} as providers.${name}.` +
      (client === null ? '' : ` Sidekey registered itself there as the client ${client.clientId}.`),
  );
  const server = new URL(found.tokenEndpoint).host;
  if (server !== host) {
    // No document proves that the server belongs to the API.
    output.say(
      `Note: Its tokens come from ${server}, and are sent to ${host}: continue only if they belong together.`,
    );
  }
  return { provider, clientSecret: client?.clientSecret ?? null };
}

type Definition = readonly (readonly [path: readonly string[], value: EntryValue])[];

/** Writes a new provider to the config file. Records it in the audit log first. */
async function addDefinition(
  context: Context,
  name: string,
  definition: Definition,
  facts: { readonly host?: string; readonly reason: string },
): Promise<{ readonly provider: Provider; readonly file: string }> {
  const { env } = context;
  const file = await context.configFile();
  const previous = await readConfigText(file);
  let text = previous;
  for (const [path, value] of definition) text = putValue(text, ['providers', name, ...path], value);
  const provider = findProvider((await parseConfig(text, file, { env })).providers, name);
  await provider.clientSecret?.();
  const event = { event: 'provider.changed', provider: name, ...facts } as const;
  await context.withState(({ audit }) =>
    recordChange(audit, event, () => writeConfigAtomically(file, text, { env, previous, isLocal: true })),
  );
  return { provider, file };
}

/**
 * `connect NAME --auth-url URL --token-url URL`: writes an unknown OAuth service to the config file. Only the
 * hosts of `--allowed-domains` get its tokens. Reuses a definition with the same endpoints.
 *
 * @throws SidekeyError `input_invalid`, `already_exists`, `config_invalid`, `file_unwritable`,
 * `audit_unavailable`
 */
export async function defineProvider(
  context: Context,
  name: string,
  { authUrl, tokenUrl, allowedDomains = [], scope, clientId, clientSecret }: ConnectOptions,
): Promise<void> {
  checkName('name of the provider', name);
  if (tokenUrl === undefined) {
    throw inputInvalid('--auth-url needs --token-url.', 'the provider documents both addresses');
  }
  for (const [option, url] of Object.entries({ '--auth-url': authUrl, '--token-url': tokenUrl })) {
    if (url === undefined || parseAbsoluteTarget(url)?.authority.scheme === 'https') continue;
    throw inputInvalid(`${option} is not an https address.`, `${option} https://login.example.com/oauth/…`);
  }
  const { providers } = await context.config();
  if (providers.names.includes(name)) {
    const { authorizationEndpoint, tokenEndpoint } = findProvider(providers, name);
    const isSame = authorizationEndpoint === (authUrl ?? null) && tokenEndpoint === tokenUrl;
    if (isSame && providers.own.includes(name)) return;
    throw new SidekeyError('already_exists', `There is a provider ${name} already, with other addresses.`, {
      hint: 'call this one by another name, or leave --auth-url and --token-url out',
    });
  }
  if (allowedDomains.length === 0) {
    const urls = Object.entries({ '--auth-url': authUrl, '--token-url': tokenUrl });
    const written = urls.flatMap(([option, url]) =>
      url === undefined ? [] : [`${option} ${shellWord(url)}`],
    );
    throw inputInvalid(
      'No option names the hosts that may receive its tokens.',
      `sidekey connect ${name} ${written.join(' ')} --allowed-domains api.example.com`,
    );
  }
  const audience = allowedDomains.map((text) => hostPattern('--allowed-domains', text).text);
  const { file } = await addDefinition(
    context,
    name,
    [
      ...optional('authorization_endpoint', authUrl ?? null),
      [['token_endpoint'], tokenUrl],
      ...optional('client_id', clientId ?? null),
      ...(clientSecret === undefined
        ? optional('client_auth', 'none')
        : optional('client_secret', keptReference('--client-secret', clientSecret))),
      ...(scope === undefined ? [] : [[['scopes'], readScopes(scope)] as const]),
      [['audience'], audience],
    ],
    { reason: 'defined at the command line' },
  );
  context.output.say(`Saved providers.${name} in ${displayName(file)}.`);
}

function nameFor(host: string, named: string | undefined): string {
  const name = named ?? host;
  if (isName(name)) return name;
  throw new SidekeyError('input_invalid', 'The host is not a valid name of a provider.', {
    hint: 'name it: --name NAME, of letters, digits, dots, dashes and underscores',
  });
}

function taken(name: string, host: string): SidekeyError {
  const sentence = `There is a provider ${name} already, which is not for ${host}.`;
  const hint = 'call this one by another name: --name NAME';
  return new SidekeyError('already_exists', sentence, { hint });
}

/** Registers a client; null: the user named one. */
async function clientFor(
  { registrationEndpoint, authMethods, scopes, authorizationEndpoint, issuer }: Discovered,
  { clientId, port, redirectUri }: DiscoverOptions,
  io: Parameters<typeof registerClient>[1],
): Promise<RegisteredClient | null> {
  if (clientId !== undefined) return null;
  // Port and path of the later listener.
  const back = writtenRedirectUri(redirectTarget({ port, redirectUri }));
  if (registrationEndpoint === null) {
    throw new SidekeyError('provider_refused', `${issuer} lets no client register itself.`, {
      hint: `register one by hand, with the redirect URI ${back}, and give its id: --client-id ID --client-secret env:NAME`,
    });
  }
  return registerClient(
    {
      endpoint: registrationEndpoint,
      // With and without the port: some servers compare it, others (RFC 8252 §7.3) do not.
      redirectUris: redirectUri === undefined ? [back, 'http://127.0.0.1/callback'] : [back],
      grantTypes: [...(authorizationEndpoint === null ? [] : ['authorization_code']), 'refresh_token'],
      authMethods,
      scopes,
    },
    io,
  );
}

function definitionOf(found: Discovered, client: RegisteredClient | null, host: string): Definition {
  return [
    ...optional('authorization_endpoint', found.authorizationEndpoint),
    ...optional('device_authorization_endpoint', found.deviceAuthorizationEndpoint),
    [['token_endpoint'], found.tokenEndpoint],
    ...optional('revocation_endpoint', found.revocationEndpoint),
    // The endpoint accepts only tokens with that scope.
    ...optional('userinfo_endpoint', found.scopes.includes('openid') ? found.userinfoEndpoint : null),
    [['issuer'], found.issuer],
    ...(found.namesIssuer ? [[['authorization_response_iss_parameter_supported'], true] as const] : []),
    ...optional('client_id', client?.clientId ?? null),
    ...optional('client_auth', client === null ? null : client.auth),
    ...(found.scopes.length === 0 ? [] : [[['scopes'], found.scopes] as const]),
    [['audience'], [host]],
    // RFC 8707: the API of the tokens.
    ...(found.resource === null
      ? []
      : (['authorization_parameters', 'token_parameters'] as const).map(
          (key) => [['dialect', key, 'resource'], found.resource ?? ''] as const,
        )),
  ];
}

function optional(
  key: string,
  value: string | null,
): readonly (readonly [path: readonly string[], value: string])[] {
  return value === null ? [] : [[[key], value]];
}
