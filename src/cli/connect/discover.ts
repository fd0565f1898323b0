import { recordChange } from '../../audit/log.ts';
import { withUpstreamClient } from '../config.ts';
import { redirectTarget, writtenRedirectUri } from './browser.ts';
import type { ConnectOptions } from './flow.ts';
import type { Context } from '../context.ts';
import { findProvider } from '../pick.ts';
import { writeConfigAtomically } from '../../config/edit.ts';
import { parseConfig, readConfigText } from '../../config/load.ts';
import { displayName } from '../../config/problem.ts';
import { type EntryValue, putValue } from '../../config/yaml-splice.ts';
import { isName } from '../../grants/grant.ts';
import type { Provider } from '../../grants/provider.ts';
import { SidekeyError } from '../../lib/errors.ts';
import { discover, type Discovered, registerClient, type RegisteredClient } from '../../oauth/discovery.ts';
import { authorityText, parseAbsoluteTarget } from '../../policy/authority.ts';

/** A provider that was found, and the secret of the client that was registered with it, which no file holds. */
export interface FoundProvider {
  readonly provider: Provider;
  /** Null: the client has none. */
  readonly clientSecret: string | null;
}

type DiscoverOptions = Pick<ConnectOptions, 'name' | 'clientId' | 'port' | 'redirectUri'>;

/**
 * `connect https://… --discover`: asks the API and its login server how to log in, registers a client where the server
 * lets anybody, and keeps the definition in the config file. One that is there already is used as it is.
 *
 * @throws SidekeyError what `discover` and `registerClient` throw; `input_invalid`, `already_exists`,
 * `config_invalid`, `file_unwritable`, `audit_unavailable`
 */
export async function discoverProvider(
  context: Context,
  address: string,
  options: DiscoverOptions,
): Promise<FoundProvider> {
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
  const file = await context.configFile();
  const previous = await readConfigText(file);
  let text = previous;
  for (const [path, value] of definitionOf(found, client, host)) {
    text = putValue(text, ['providers', name, ...path], value);
  }
  const provider = findProvider((await parseConfig(text, file, { env })).providers, name);
  const event = {
    event: 'provider.changed',
    provider: name,
    host,
    reason: `discovered at ${found.issuer}`,
  } as const;
  await context.withState(({ audit }) =>
    recordChange(audit, event, () => writeConfigAtomically(file, text, { env, previous })),
  );
  output.say(
    `Found at ${found.issuer}, and kept in ${displayName(file, process.cwd())} as providers.${name}.` +
      (client === null ? '' : ` Sidekey registered itself there as the client ${client.clientId}.`),
  );
  const server = new URL(found.tokenEndpoint).host;
  if (server !== host) {
    // The API names the server: whether it is its own, no document proves.
    output.say(
      `Note: Its tokens come from ${server}, and are sent to ${host}: go on only where these belong together.`,
    );
  }
  return { provider, clientSecret: client?.clientSecret ?? null };
}

function nameFor(host: string, named: string | undefined): string {
  const name = named ?? host;
  if (isName(name)) return name;
  throw new SidekeyError('input_invalid', 'The host cannot stand for the name of the provider.', {
    hint: 'name it: --name NAME, of letters, digits, dots, dashes and underscores',
  });
}

function taken(name: string, host: string): SidekeyError {
  return new SidekeyError(
    'already_exists',
    `There is a provider ${name} already, which is not for ${host}.`,
    {
      hint: 'call this one by another name: --name NAME',
    },
  );
}

/** Null: a person will name a client of their own. */
async function clientFor(
  { registrationEndpoint, authMethods, scopes, authorizationEndpoint, issuer }: Discovered,
  { clientId, port, redirectUri }: DiscoverOptions,
  io: Parameters<typeof registerClient>[1],
): Promise<RegisteredClient | null> {
  if (clientId !== undefined) return null;
  // Port and path of a listener that this command opens later.
  const back = writtenRedirectUri(redirectTarget({ port, redirectUri }));
  if (registrationEndpoint === null) {
    throw new SidekeyError('provider_refused', `${issuer} lets no client register itself.`, {
      hint: `register one by hand, with the redirect URI ${back}, and give its id: --client-id ID --client-secret env:NAME`,
    });
  }
  return registerClient(
    {
      endpoint: registrationEndpoint,
      // With and without the port: some servers compare it, and others (RFC 8252 §7.3) do not.
      redirectUris: redirectUri === undefined ? [back, 'http://127.0.0.1/callback'] : [back],
      grantTypes: [...(authorizationEndpoint === null ? [] : ['authorization_code']), 'refresh_token'],
      authMethods,
      scopes,
    },
    io,
  );
}

function definitionOf(
  found: Discovered,
  client: RegisteredClient | null,
  host: string,
): readonly (readonly [path: readonly string[], value: EntryValue])[] {
  return [
    ...optional('authorization_endpoint', found.authorizationEndpoint),
    ...optional('device_authorization_endpoint', found.deviceAuthorizationEndpoint),
    [['token_endpoint'], found.tokenEndpoint],
    ...optional('revocation_endpoint', found.revocationEndpoint),
    [['issuer'], found.issuer],
    ...(found.namesIssuer ? [[['authorization_response_iss_parameter_supported'], true] as const] : []),
    ...optional('client_id', client?.clientId ?? null),
    ...optional('client_auth', client === null ? null : client.auth),
    ...(found.scopes.length === 0 ? [] : [[['scopes'], found.scopes] as const]),
    [['audience'], [host]],
    // RFC 8707: the API that the tokens are for.
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
