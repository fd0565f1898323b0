import * as oauth from 'oauth4webapi';
import { SidekeyError } from '../../lib/errors.ts';
import { hintOf, remedy } from '../../lib/hint.ts';
import { authorizationServer, type ServerChoice, serversToAsk } from './authorization-server.ts';
import { boundedFetch, type DocumentIo, type JsonObject } from './http.ts';
import { type ProtectedResource, protectedResource } from './protected-resource.ts';
import { firstUsable, httpsUrl, texts, unusable } from './published.ts';

/**
 * Discovers a provider definition from the URL of an API or its authorization server: protected resource
 * metadata (RFC 9728), authorization server metadata (RFC 8414), OpenID Connect Discovery 1.0.
 */

/** Metadata of an authorization server. URLs are https; scopes and methods may be empty. */
export interface Discovered {
  readonly issuer: string;
  readonly authorizationEndpoint: string | null;
  readonly tokenEndpoint: string;
  readonly deviceAuthorizationEndpoint: string | null;
  readonly revocationEndpoint: string | null;
  readonly userinfoEndpoint: string | null;
  readonly registrationEndpoint: string | null;
  /** Set if a client ID may be the address of a client ID metadata document. */
  readonly takesClientDocuments?: true;
  /** Scopes that the API names; empty: the provider chooses. */
  readonly scopes: readonly string[];
  /** Scopes that a later consent may ask for, which a registration must name too. */
  readonly knownScopes: readonly string[];
  /** True if a refresh token needs `prompt=consent` (OpenID Connect Core §11). */
  readonly asksConsent: boolean;
  /** Client authentication methods of the token endpoint, by their names in RFC 8414. */
  readonly authMethods: readonly string[];
  /** True if authorization responses have `iss` (RFC 9207 §3). */
  readonly namesIssuer: boolean;
  /** Identifier of the API for `resource` (RFC 8707); null: no protected resource metadata. */
  readonly resource: string | null;
}

/**
 * Asks the API, reads its metadata, then those of its authorization server.
 *
 * @param address an https URL
 * @throws SidekeyError `input_invalid`: not an https URL, or several servers; `not_found`: no such document;
 * `provider_refused`: the document is unusable; `address_blocked`; `upstream_unreachable`
 */
export async function discover(
  address: string,
  io: DocumentIo,
  choice: ServerChoice = {},
): Promise<Discovered> {
  const url = httpsUrl(address);
  if (url === null) {
    throw new SidekeyError('input_invalid', '--discover needs an https URL.', {
      hint: 'write the address of the API or of its login server, such as https://api.example.com',
    });
  }
  const api = await protectedResource(url, io);
  const servers = await serversToAsk(url, api.servers, choice);
  const metadata = await authorizationServer(url, servers, choice.issuer, io);
  if (metadata === null) throw undescribed(url, servers[0], api);
  return describedBy(metadata, servers[0], api);
}

function undescribed(address: URL, { origin }: URL, { isOpen }: ProtectedResource): SidekeyError {
  const pasted = remedy('connect', { provider: null, token: true });
  const named = remedy('connect', { provider: address.href, issuer: null });
  const hint = hintOf`name its login server: ${named}; or ask its documentation for the endpoints and set them under "providers", or paste a key: ${pasted}`;
  const open = hintOf`it answered without a login: ${remedy('domain.tunnel', { host: address.host })}`;
  return new SidekeyError('not_found', `${origin} says nothing about how to log in.`, {
    hint: isOpen ? open : hint,
  });
}

/** Asks an issuer that the person has chosen before; null: it has no metadata. @throws as `discover` */
export async function discoverIssuer(issuer: string, io: DocumentIo): Promise<Discovered | null> {
  const url = new URL(issuer);
  const metadata = await authorizationServer(url, [url], issuer, io);
  return metadata && describedBy(metadata, url, null);
}

/**
 * Finds the authorization server that has this authorization endpoint. Asks the issuer, else the origin of
 * the endpoint and then each start of its path. A document with another endpoint counts as none.
 *
 * @throws SidekeyError `not_found`, `provider_refused`, `address_blocked`, `upstream_unreachable`
 */
export async function discoverServer(
  authorizationEndpoint: string,
  issuer: string | null,
  io: DocumentIo,
): Promise<Discovered> {
  const { origin, pathname, href } = new URL(authorizationEndpoint);
  const parts = pathname.split('/').slice(1, 1 + maxPathParts);
  const places = issuer === null ? parts.map((_, i) => [origin, ...parts.slice(0, i)].join('/')) : [issuer];
  let other: string | null = null;
  for (const at of places.map((place) => httpsUrl(place)).filter((place) => place !== null)) {
    for (const kind of ['oauth2', 'oidc'] as const) {
      const metadata = await serverMetadata(at, io, kind).catch(noneIfRefused);
      const described = httpsUrl(metadata?.authorization_endpoint ?? '')?.href ?? null;
      if (metadata !== null && described === href) return describedBy(metadata, at, null);
      other ??= described;
    }
  }
  const hint =
    'add --token-url with the address of the token endpoint, or --issuer with the issuer that its documentation names';
  throw new SidekeyError(
    'not_found',
    `${issuer ?? origin} does not say where the tokens of this login come from.`,
    { hint: other === null ? hint : `its login page is ${other}: correct --auth-url; or ${hint}` },
  );
}

const maxPathParts = 6;

/** A server may have a document of another issuer at one place, and its own at the next. */
function noneIfRefused(error: unknown): null {
  if (error instanceof SidekeyError && error.code === 'provider_refused') return null;
  throw error;
}

function describedBy(
  metadata: oauth.AuthorizationServer,
  issuer: URL,
  api: ProtectedResource | null,
): Discovered {
  const endpoint = (name: string): string | null => {
    const value = metadata[name];
    if (value === undefined || value === null) return null;
    const parsed = typeof value === 'string' ? httpsUrl(value) : null;
    if (parsed === null) throw unusable(issuer, `its ${name} is not an https URL`);
    return parsed.href;
  };
  const tokenEndpoint = endpoint('token_endpoint');
  if (tokenEndpoint === null) throw unusable(issuer, 'it has no token endpoint');
  const offline = texts(metadata.scopes_supported).filter((scope) => scope === 'offline_access');
  const withOfflineAccess = (scopes: readonly string[]) => [...new Set([...scopes, ...offline])];
  return {
    issuer: metadata.issuer,
    authorizationEndpoint: endpoint('authorization_endpoint'),
    tokenEndpoint,
    deviceAuthorizationEndpoint: endpoint('device_authorization_endpoint'),
    revocationEndpoint: endpoint('revocation_endpoint'),
    userinfoEndpoint: endpoint('userinfo_endpoint'),
    registrationEndpoint: endpoint('registration_endpoint'),
    ...(metadata['client_id_metadata_document_supported'] === true ? { takesClientDocuments: true } : {}),
    // All scopes of the server would be more than this API needs. That scope asks for a refresh token.
    scopes: withOfflineAccess(api?.scopes ?? []),
    knownScopes: withOfflineAccess(api?.knownScopes ?? []),
    asksConsent: offline.length > 0 && takesConsentPrompt(metadata),
    authMethods: texts(metadata.token_endpoint_auth_methods_supported),
    namesIssuer: metadata.authorization_response_iss_parameter_supported === true,
    resource: api?.resource ?? null,
  };
}

/** Returns the metadata of exactly this issuer; null: no such document. @throws SidekeyError as `discover` */
export function serverMetadata(
  issuer: URL,
  io: DocumentIo,
  kind: 'oauth2' | 'oidc',
): Promise<oauth.AuthorizationServer | null> {
  const { origin, pathname } = issuer;
  const path = pathname.replace(/\/$/, '');
  const place =
    kind === 'oidc'
      ? `${path}/.well-known/openid-configuration`
      : `/.well-known/oauth-authorization-server${path}`;
  const read = ({ issuer: named, ...members }: JsonObject) => {
    if (typeof named === 'string' && httpsUrl(named)?.href === issuer.href)
      return { ...members, issuer: named };
    throw unusable(issuer, 'its document is not one of this issuer');
  };
  return firstUsable([{ url: new URL(`${origin}${place}`) }], read, io);
}

/** Returns the request options of the OAuth library. */
export function requestOptions(io: DocumentIo) {
  return {
    [oauth.customFetch]: boundedFetch(io),
    ...(io.signal === undefined ? {} : { signal: io.signal }),
  };
}

/** Entra ID refuses a repeated consent to people whose administrator consented for them (AADSTS90094). */
function takesConsentPrompt({
  authorization_endpoint: endpoint = '',
  ...metadata
}: oauth.AuthorizationServer) {
  const prompts = metadata['prompt_values_supported'];
  if (prompts !== undefined) return texts(prompts).includes('consent');
  return !/\.microsoftonline\.(?:com|us|cn)$/.test(URL.parse(endpoint)?.hostname ?? '');
}
