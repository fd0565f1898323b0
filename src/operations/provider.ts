import { z } from 'zod';
import type { Flow, Provider } from '../domain/provider.ts';
import { SidekeyError } from '../lib/errors.ts';
import { hintOf, hintText, remedy, type Remedy, type RemedyInput } from '../lib/hint.ts';
import { carriedAs, schemeOf } from '../proxy/schemes/placement.ts';
import { findProvider } from './lookup.ts';
import { text } from './members.ts';
import { readingConfig } from './operation.ts';

/** Providers: the services that grants are for. */

export const providerShape = z
  .looseObject({ name: z.string(), title: z.string(), category: z.string() })
  .meta({ id: 'Provider' });

export const listProviders = readingConfig({
  id: 'provider.list',
  summary: 'List the providers.',
  scope: 'grants:read',
  input: z.strictObject({
    text: text.optional().describe('Only those with this text in their name, title or category.'),
    flow: text.optional().describe('Only those with this flow.'),
  }),
  output: z.array(providerShape),
  async run({ config: { providers } }, { text: part = '', flow }) {
    const all = providers.names.flatMap((name) => providers.get(name) ?? []);
    const offers = ({ flows }: Provider) => flow === undefined || flows.some((each) => each === flow);
    const fitting = all.filter((provider) => offers(provider) && fits(provider, part.toLowerCase()));
    if (fitting.length > 0 || flow !== undefined) return fitting;
    throw new SidekeyError('not_found', 'No provider fits that text.', {
      hint: hintOf`any API with a key: ${remedy('connect', { provider: 'api-key', set: 'host=HOST', token: true })}; any OpenID provider: ${remedy('connect', { provider: 'https://HOST' })}`,
    });
  },
  answer: (providers) => providers.map(providerAnswer),
});

function fits({ name, title, category }: Provider, part: string): boolean {
  return [name, title, category].some((word) => word.toLowerCase().includes(part));
}

export const getProvider = readingConfig({
  id: 'provider.get',
  summary: 'Show how to connect to a provider, and which hosts get its tokens.',
  scope: 'grants:read',
  input: z.strictObject({ provider: text }),
  output: providerShape,
  run: async ({ config: { providers }, pages }, { provider }) => ({
    ...findProvider(providers, provider),
    callback: pages === null ? null : `${pages}/connect/callback`,
  }),
  answer: providerAnswer,
});

/**
 * Returns a provider with the config file's keys. Reveals only whether it has a client secret.
 *
 * @param provider with the redirect URI of consents that begin at the API; null: its address is not known
 */
export function providerAnswer(
  provider: Provider & { readonly callback?: string | null },
): z.input<typeof providerShape> {
  const { inject, token, dialect, idJag, clientRegistration, callback } = provider;
  return {
    name: provider.name,
    title: provider.title,
    category: provider.category,
    docs: provider.docs,
    settings: Object.fromEntries(provider.settings.map(({ name, value }) => [name, value])),
    open_settings: provider.settings
      .filter(({ value }) => value === null)
      .map(({ name, description, example }) => ({ name, description, example })),
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
    callback_uri: callback ?? null,
    client_registration: clientRegistration,
    dpop: provider.dpop === null ? false : { algorithm: provider.dpop },
    flows: provider.flows,
    id_jag: idJag && { audience: idJag.audience, resource: idJag.resource },
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
            steps: token.steps,
            parts: token.parts.map(({ name }) => name),
            fields: token.parts.map(({ name, label, secret }) => ({ name, label, secret })),
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

/** Place of the token, if all requests share it; null: it depends on the host or path. */
export function carriedEverywhereAs(places: Provider['inject']): string | null {
  const [only, ...more] = places;
  const isOne = only !== undefined && more.length === 0 && only.hosts === null && only.paths === null;
  return isOne ? carriedAs(only.as) : null;
}

/** Input of `connect` for each flow, besides the provider. */
const connectInputs: Readonly<Record<Flow | 'token', RemedyInput>> = {
  authorization_code: {},
  device_code: { device: true },
  client_credentials: { client_credentials: true },
  jwt_bearer: { jwt_bearer: true, key: null },
  token_exchange: { token_exchange: true },
  id_jag: { via: 'oidc' },
  auth0_connection: { via: 'auth0' },
  github_installation: { app_id: null, installation_id: null, key: null },
  aws_role: { assume_role: null },
  token: { token: true },
};

/** Returns the action that connects to a provider by one flow. */
export function connectRemedy(name: string, way: Flow | 'token', more: RemedyInput = {}): Remedy {
  return remedy('connect', { provider: name, ...connectInputs[way], ...more });
}

/** Returns the flows of a provider, the default first. */
export function waysToConnect({ flows, token }: Provider): readonly (Flow | 'token')[] {
  return token === null ? flows : [...flows, 'token'];
}

/** Returns the commands that connect to a provider, the default first. */
export function connectCommands(provider: Provider): readonly string[] {
  return waysToConnect(provider).map((way) => hintText(connectRemedy(provider.name, way)));
}
