import * as oauth from 'oauth4webapi';
import { SidekeyError } from '../../lib/errors.ts';
import { describe, describeFault, errorCode, findSidekeyError, withDescription } from './description.ts';
import { requestOptions } from './discovery.ts';
import { type DocumentIo, jsonObject, type JsonObject } from './http.ts';

/** Dynamic client registration (RFC 7591) at a server that permits it. */

export interface Registration {
  /** An https URL. */
  readonly endpoint: string;
  /** Redirect URIs to register, the one of the consent first. */
  readonly redirectUris: readonly string[];
  readonly grantTypes: readonly string[];
  /** Methods that the token endpoint accepts; empty: not stated, which means basic (RFC 8414 §2). */
  readonly authMethods: readonly string[];
  readonly scopes: readonly string[];
  /** Initial access token (RFC 7591 §3), which some servers require; absent: none. */
  readonly initialAccessToken?: string | undefined;
}

/** Client as registered by the server. */
interface RegisteredClient {
  readonly clientId: string;
  readonly clientSecret: string | null;
  readonly auth: 'none' | 'basic' | 'post';
  /** Expiry of the secret, in milliseconds since the epoch; absent: no expiry, or none is stated. */
  readonly secretExpiresAt?: number;
  /** The only redirect URI that the server accepted, if that is not the first of the request. */
  readonly redirectUri?: string;
}

/**
 * Registers a client, as a public one if the server permits it: a secret registered on the spot does not
 * authenticate its user (RFC 8252 §8.4). If the server refuses the metadata, sends less of it.
 *
 * @throws SidekeyError `provider_refused`: the server refused or sent no usable client;
 * `upstream_unreachable`, `address_blocked`
 */
export async function registerClient(registration: Registration, io: DocumentIo): Promise<RegisteredClient> {
  const { host } = new URL(registration.endpoint);
  let failure: SidekeyError | undefined;
  let tried: string | undefined;
  for (const metadata of attemptsOf(registration)) {
    const [uri = ''] = metadata.redirect_uris;
    // Another redirect URI helps only if the server refuses this one.
    if (failure !== undefined && uri !== tried && !/redirect/i.test(failure.message)) break;
    tried = uri;
    const response = await send(registration, metadata, io);
    const answer = jsonObject((await response.text()).replace(/^\uFEFF/, ''));
    const client = response.ok && answer !== null ? readClient(answer, metadata, registration) : null;
    if (typeof client === 'string') throw refused(host, client);
    if (client !== null)
      return uri === registration.redirectUris[0] ? client : { ...client, redirectUri: uri };
    failure ??= refused(host, ...refusalOf(answer, response.status, registration.initialAccessToken));
    if (response.status !== 400 && response.status !== 422) break;
  }
  throw failure ?? refused(host, 'there is nothing to register');
}

interface Metadata {
  readonly redirect_uris: string[];
  readonly token_endpoint_auth_method: string;
  readonly [member: string]: oauth.JsonValue;
}

/**
 * Returns the metadata of each attempt: all, then without the members that servers refuse most often (scopes,
 * a second redirect URI), then with `localhost`, which some servers accept instead of 127.0.0.1.
 */
function attemptsOf({ redirectUris, grantTypes, authMethods, scopes }: Registration): readonly Metadata[] {
  const plain = {
    client_name: 'Sidekey',
    application_type: 'native',
    redirect_uris: [...redirectUris],
    grant_types: [...grantTypes],
    response_types: grantTypes.includes('authorization_code') ? ['code'] : [],
    token_endpoint_auth_method: authMethods.includes('none') ? 'none' : secretMethod(authMethods),
  };
  const [first = ''] = redirectUris;
  const local = first.replace('http://127.0.0.1:', 'http://localhost:');
  return [
    { ...plain, ...(scopes.length === 0 ? {} : { scope: scopes.join(' ') }) },
    ...[...new Set([first, local])].map((uri) => ({ ...plain, redirect_uris: [uri] })),
  ];
}

async function send(
  { endpoint, initialAccessToken }: Registration,
  metadata: Metadata,
  io: DocumentIo,
): Promise<Response> {
  const { host, origin } = new URL(endpoint);
  try {
    return await oauth.dynamicClientRegistrationRequest(
      { issuer: origin, registration_endpoint: endpoint },
      metadata,
      { ...requestOptions(io), ...(initialAccessToken === undefined ? {} : { initialAccessToken }) },
    );
  } catch (error) {
    const ours = findSidekeyError(error);
    if (ours !== null) throw ours;
    throw new SidekeyError('upstream_unreachable', `${host} did not answer: ${describeFault(error)}.`, {
      hint: 'try again later',
    });
  }
}

/**
 * Parses the response to a registration (RFC 7591 §3.2.1).
 *
 * @returns a text if the client cannot be used; null: no client
 */
function readClient(
  answer: JsonObject,
  { token_endpoint_auth_method: asked }: Metadata,
  { authMethods }: Registration,
): RegisteredClient | string | null {
  const { client_id: id, client_secret: secret, token_endpoint_auth_method: method } = answer;
  // Some servers number their clients.
  const clientId = typeof id === 'number' ? String(id) : id;
  if (typeof clientId !== 'string' || clientId === '') return null;
  if (!/^[\x20-\x7e]+$/.test(clientId)) return 'the client id is not printable';
  const clientSecret = typeof secret === 'string' && secret !== '' ? secret : null;
  // If a server sends a secret to a public client and names no method, it ignored the requested method.
  const assumed = asked === 'none' && clientSecret !== null ? secretMethod(authMethods) : asked;
  // RFC 7591 §3.2.1: the server may replace the requested method.
  const auth = methods.get(typeof method === 'string' ? method : assumed);
  if (auth === undefined) return 'it wants a way of client authentication that Sidekey has not';
  if (auth === 'none') return { clientId, clientSecret: null, auth };
  if (clientSecret === null) return 'it gave no client secret';
  const secretExpiresAt = timeOf(answer['client_secret_expires_at']);
  return { clientId, clientSecret, auth, ...(secretExpiresAt === null ? {} : { secretExpiresAt }) };
}

/** Returns the first method with a secret: servers of MCP's Python SDK name Basic last, and refuse it. */
function secretMethod(authMethods: Registration['authMethods']): string {
  return authMethods.find((name) => /^client_secret_(?:basic|post)$/.test(name)) ?? 'client_secret_basic';
}

const methods: ReadonlyMap<string, RegisteredClient['auth']> = new Map([
  ['none', 'none'],
  ['client_secret_basic', 'basic'],
  ['client_secret_post', 'post'],
]);

/** Parses a time in seconds, as a number or its digits, or in ISO 8601. Null: 0 and other values. */
function timeOf(value: unknown): number | null {
  const seconds = typeof value === 'number' || /^\d+(?:\.\d+)?$/.test(String(value)) ? Number(value) : null;
  const time = seconds === null ? Date.parse(String(value)) : seconds * (seconds > 1e11 ? 1 : 1000);
  return time > 0 && time < 1e14 ? Math.round(time) : null;
}

const byHand = 'register one by hand, and give its id: --client-id ID --client-secret env:NAME';

/** Returns why a registration was refused, and the next step. */
function refusalOf(
  answer: JsonObject | null,
  status: number,
  token = '',
): readonly [reason: string, hint: string] {
  const { error, error_description: description } = answer ?? {};
  const text = typeof description === 'string' ? describe(description, [token]) : '';
  const lack = status < 300 ? ' without a client id' : '';
  const reason =
    typeof error === 'string'
      ? withDescription(errorCode(error, [token]), text)
      : `it answered HTTP ${status}${lack}`;
  let hint = '';
  if (status === 429 || status >= 500) hint = 'try again later; or ';
  else if ((status === 401 || status === 403) && token !== '')
    hint = 'check that the initial access token is valid; or ';
  else if (status === 401 || status === 403)
    hint = 'where its operator gives initial access tokens: --registration-token env:NAME; or ';
  else if (/redirect/i.test(reason))
    hint =
      'name a redirect URI that it allows: --redirect-uri URI (with --paste, one of another machine); or ';
  return [reason, hint + byHand];
}

function refused(host: string, reason: string, hint = byHand): SidekeyError {
  return new SidekeyError('provider_refused', `${host} did not register a client (${reason}).`, { hint });
}
