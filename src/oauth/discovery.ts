import * as oauth from 'oauth4webapi';
import type { ClientAuth } from '../domain/provider.ts';
import { SidekeyError } from '../lib/errors.ts';
import { boundedFetch, type DocumentIo } from './http.ts';
import { describe, describeFault, errorCode, findSidekeyError, withDescription } from './description.ts';

/**
 * From the URL of an API, or of its authorization server, to what a provider definition needs: protected resource
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
  /** The scopes that the API names; none: the provider chooses. */
  readonly scopes: readonly string[];
  /** The methods of client authentication at the token endpoint, by their names in RFC 8414. */
  readonly authMethods: readonly string[];
  /** True if it names itself in each authorization response (RFC 9207 §3). */
  readonly namesIssuer: boolean;
  /** The identifier of the API, where it has protected resource metadata: `resource` of RFC 8707. */
  readonly resource: string | null;
}

/**
 * Asks the API first where its tokens come from, then the server. The result must match the requested issuer: the
 * document of an issuer must name that issuer (RFC 8414 §3.3), so no server can speak for another.
 *
 * @param address an https URL
 * @throws SidekeyError `input_invalid`: no https URL; `not_found`: there is no such document; `provider_refused`: there
 * is one, and it is not usable; `address_blocked`; `upstream_unreachable`
 */
export async function discover(address: string, io: DocumentIo): Promise<Discovered> {
  const url = httpsUrl(address);
  if (url === null) {
    throw new SidekeyError('input_invalid', '--discover needs an https URL.', {
      hint: 'write the address of the API or of its login server, such as https://api.example.com',
    });
  }
  const api = await resourceMetadata(url, io);
  const [server] = api?.authorization_servers ?? [];
  if (server !== undefined && httpsUrl(server) === null) {
    throw unusable(url, 'its authorization server is not an https URL');
  }
  const issuer = new URL(server ?? url);
  const metadata = await serverMetadata(issuer, io);
  if (metadata === null) {
    throw new SidekeyError('not_found', `${issuer.origin} says nothing about how to log in.`, {
      hint: 'ask its documentation for the endpoints and set them under "providers", or paste a key: sidekey connect NAME --token',
    });
  }
  const endpoint = (name: string): string | null => {
    const value = metadata[name];
    if (value === undefined || value === null) return null;
    const parsed = typeof value === 'string' ? httpsUrl(value) : null;
    if (parsed === null) throw unusable(issuer, `its ${name} is not an https URL`);
    return parsed.href;
  };
  const tokenEndpoint = endpoint('token_endpoint');
  if (tokenEndpoint === null) throw unusable(issuer, 'it has no token endpoint');
  return {
    issuer: metadata.issuer,
    authorizationEndpoint: endpoint('authorization_endpoint'),
    tokenEndpoint,
    deviceAuthorizationEndpoint: endpoint('device_authorization_endpoint'),
    revocationEndpoint: endpoint('revocation_endpoint'),
    userinfoEndpoint: endpoint('userinfo_endpoint'),
    registrationEndpoint: endpoint('registration_endpoint'),
    // All that the server knows would be more than anybody needs for this API.
    scopes: texts(api?.scopes_supported),
    authMethods: texts(metadata.token_endpoint_auth_methods_supported),
    namesIssuer: metadata.authorization_response_iss_parameter_supported === true,
    resource: api?.resource ?? null,
  };
}

async function resourceMetadata(url: URL, io: DocumentIo): Promise<oauth.ResourceServer | null> {
  // An API may be described as a whole while the URL is that of one part of it.
  for (const identifier of url.pathname === '/' ? [url] : [url, new URL(url.origin)]) {
    const found = await document(
      identifier,
      () => oauth.resourceDiscoveryRequest(identifier, requestOptions(io)),
      (response) => oauth.processResourceDiscoveryResponse(identifier, response),
    );
    if (found !== null) return found;
  }
  return null;
}

/** Returns the metadata of a server; null: it has no document of these kinds. @throws SidekeyError as `discover` */
export async function serverMetadata(
  issuer: URL,
  io: DocumentIo,
  kinds: readonly ('oauth2' | 'oidc')[] = ['oauth2', 'oidc'],
): Promise<oauth.AuthorizationServer | null> {
  for (const algorithm of kinds) {
    const found = await document(
      issuer,
      () => oauth.discoveryRequest(issuer, { ...requestOptions(io), algorithm }),
      (response) => oauth.processDiscoveryResponse(issuer, response),
    );
    if (found !== null) return found;
  }
  return null;
}

/** Returns the options of a request of the library. */
export function requestOptions(io: DocumentIo) {
  return {
    [oauth.customFetch]: boundedFetch(io),
    ...(io.signal === undefined ? {} : { signal: io.signal }),
  };
}

/** Null: the server has no such document. A page for people in its place, which many servers have, counts as none. */
async function document<T>(
  at: URL,
  ask: () => Promise<Response>,
  read: (response: Response) => Promise<T>,
): Promise<T | null> {
  let response: Response;
  try {
    response = await ask();
  } catch (error) {
    const ours = findSidekeyError(error);
    if (ours !== null) throw ours;
    if (error instanceof RangeError) throw unusable(at, error.message);
    throw new SidekeyError('upstream_unreachable', `${at.host} did not answer: ${describeFault(error)}.`, {
      hint: 'check the address; hosts of a private network need upstream.private_addresses',
    });
  }
  const type = response.headers.get('content-type') ?? '';
  if (response.status !== 200 || !/\bjson\b/i.test(type)) return null;
  try {
    return await read(response);
  } catch {
    throw unusable(at, 'its document is not one of this issuer');
  }
}

function httpsUrl(text: string): URL | null {
  const url = URL.parse(text);
  const plain = url?.protocol === 'https:' && url.username === '' && url.password === '' && url.hash === '';
  return plain ? url : null;
}

function unusable(at: URL, reason: string): SidekeyError {
  return new SidekeyError(
    'provider_refused',
    `${at.host} says how to log in, and it cannot be used: ${reason}.`,
    { hint: 'tell its operator, or set the endpoints under "providers" in the config file' },
  );
}

function texts(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((item): item is string => typeof item === 'string') : [];
}

/** Dynamic client registration (RFC 7591): Sidekey makes itself known to a server that lets it. */

/** Client registration request. */
export interface Registration {
  /** An https URL. */
  readonly endpoint: string;
  /** Exactly these may be used later. */
  readonly redirectUris: readonly string[];
  readonly grantTypes: readonly string[];
  /** The methods that the server accepts at its token endpoint; empty: it does not say, which means basic (RFC 8414 §2). */
  readonly authMethods: readonly string[];
  readonly scopes: readonly string[];
}

/** The client as the server has it. */
export interface RegisteredClient {
  readonly clientId: string;
  readonly clientSecret: string | null;
  readonly auth: ClientAuth;
}

/**
 * Registers a client: a public one where the server takes such, because a secret that is registered on the spot proves
 * nothing about who uses it (RFC 8252 §8.4).
 *
 * @throws SidekeyError `provider_refused`: the server says no, or gave no usable client; `upstream_unreachable`,
 * `address_blocked`
 */
export async function registerClient(registration: Registration, io: DocumentIo): Promise<RegisteredClient> {
  const { endpoint, authMethods } = registration;
  const { host, origin } = new URL(endpoint);
  const isPublic = authMethods.includes('none');
  const method =
    isPublic || authMethods.includes('client_secret_basic') || authMethods.length === 0
      ? isPublic
        ? 'none'
        : 'client_secret_basic'
      : 'client_secret_post';
  let response: Response;
  try {
    response = await oauth.dynamicClientRegistrationRequest(
      { issuer: origin, registration_endpoint: endpoint },
      {
        client_name: 'Sidekey',
        application_type: 'native',
        redirect_uris: [...registration.redirectUris],
        grant_types: [...registration.grantTypes],
        response_types: registration.grantTypes.includes('authorization_code') ? ['code'] : [],
        token_endpoint_auth_method: method,
        ...(registration.scopes.length === 0 ? {} : { scope: registration.scopes.join(' ') }),
      },
      requestOptions(io),
    );
  } catch (error) {
    const ours = findSidekeyError(error);
    if (ours !== null) throw ours;
    throw new SidekeyError('upstream_unreachable', `${host} did not answer: ${describeFault(error)}.`, {
      hint: 'try again later',
    });
  }
  let client: oauth.OmitSymbolProperties<oauth.Client>;
  try {
    client = await oauth.processDynamicClientRegistrationResponse(response);
  } catch (error) {
    throw refused(host, reasonOf(error, response.status));
  }
  const { client_id: clientId, client_secret: secret, token_endpoint_auth_method: said } = client;
  if (!/^[\x20-\x7e]+$/.test(clientId)) throw refused(host, 'the client id is not printable');
  const clientSecret = typeof secret === 'string' && secret !== '' ? secret : null;
  // RFC 7591 §3.2.1: the server may have put another method in place of the one that was asked for.
  const auth = authOf(typeof said === 'string' ? said : method);
  if (auth === null) throw refused(host, 'it wants a way of client authentication that Sidekey has not');
  if (auth !== 'none' && clientSecret === null) throw refused(host, 'it gave no client secret');
  return { clientId, clientSecret: auth === 'none' ? null : clientSecret, auth };
}

function authOf(method: string): ClientAuth | null {
  switch (method) {
    case 'none':
      return 'none';
    case 'client_secret_basic':
      return 'basic';
    case 'client_secret_post':
      return 'post';
    default:
      return null;
  }
}

function reasonOf(error: unknown, status: number): string {
  if (!(error instanceof oauth.ResponseBodyError)) return `it answered HTTP ${status}`;
  return withDescription(errorCode(error.error, []), describe(error.error_description ?? '', []));
}

function refused(host: string, reason: string): SidekeyError {
  return new SidekeyError('provider_refused', `${host} did not register a client (${reason}).`, {
    hint: 'register one by hand, and give its id: --client-id ID --client-secret env:NAME',
  });
}
