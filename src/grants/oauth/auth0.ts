import * as oauth from 'oauth4webapi';
import type { Dialect, Provider } from '../../domain/provider.ts';
import { SidekeyError } from '../../lib/errors.ts';
import { hintOf, remedy } from '../../lib/hint.ts';
import { type Callback, checkCallback, parseCallback } from './authorization-code.ts';
import {
  askEndpoint,
  type EndpointAnswer,
  isObject,
  jsonObject,
  type JsonObject,
  type TokenIo,
} from './http.ts';
import { describe, withDescription } from './description.ts';
import { askTokenEndpoint, type TokenClient } from './token-endpoint.ts';
import type { RefreshOutcome } from './refresh.ts';

/**
 * A token of Auth0's My Account API, in exchange for the refresh token of a user's login.
 * https://auth0.com/docs/secure/call-apis-on-users-behalf/token-vault/connected-accounts-for-token-vault
 */

const accountScopes: readonly string[] = [
  'create:me:connected_accounts',
  'read:me:connected_accounts',
  'delete:me:connected_accounts',
];

export interface AccountTokenRequest {
  /** `https://DOMAIN/oauth/token`. */
  readonly endpoint: string;
  /** Client of the login. Auth0 requires a confidential client. */
  readonly client: TokenClient;
  /** Dialect of the login's provider. */
  readonly dialect: Dialect;
  /** Refresh token of the login. */
  readonly refreshToken: string;
}

/** Outcome of the token request. Descriptions are truncated and contain no piece of a secret. */
export type AccountTokenOutcome =
  | {
      readonly kind: 'token';
      /** Never stored. */
      readonly accessToken: string;
      /** Null: the old one stays valid. Otherwise the old one may be used up, so this one must be stored. */
      readonly refreshToken: string | null;
      /** Scopes of `accountScopes` that were not granted. */
      readonly missingScopes: readonly string[];
    }
  | Exclude<RefreshOutcome, { readonly kind: 'renewed' }>;

/**
 * Requests a token of the My Account API. Never rejects because of Auth0 or the network. If the client may
 * not use the audience, Auth0 silently ignores it and sends a token of another API, visible by its scopes.
 */
export async function askForAccountToken(
  request: AccountTokenRequest,
  io: TokenIo,
): Promise<AccountTokenOutcome> {
  const { endpoint, client, dialect, refreshToken } = request;
  const answer = await askTokenEndpoint(
    {
      endpoint,
      client,
      dialect,
      grantType: 'refresh_token',
      parameters: {
        refresh_token: refreshToken,
        audience: new URL('/me/', endpoint).href,
        scope: accountScopes.join(' '),
      },
      secrets: [refreshToken],
    },
    io,
  );
  switch (answer.kind) {
    case 'tokens': {
      const granted = answer.scopes ?? accountScopes;
      return {
        kind: 'token',
        accessToken: answer.accessToken,
        refreshToken: answer.refreshToken,
        missingScopes: accountScopes.filter((scope) => !granted.includes(scope)),
      };
    }
    case 'error': {
      const { error, description, unusable } = answer;
      return loginHasEnded(error)
        ? { kind: 'refused', ends: 'login', description: withDescription(error, description) }
        : { kind: 'refused', error, description, ...(unusable === undefined ? {} : { unusable }) };
    }
    case 'later':
      return answer;
  }
}

/**
 * Accounts that a user has connected at Auth0, read from Auth0's My Account API as the user's client.
 * https://auth0.com/docs/api/myaccount/connected-accounts
 */

/** My Account API of one user. */
export interface AccountApi {
  /** Any URL of the domain that the token is valid for. */
  readonly at: string;
  readonly accessToken: string;
  readonly io: TokenIo;
}

export interface ConnectedAccount {
  readonly id: string;
  readonly connection: string;
  /** Scopes that the account's provider granted. */
  readonly scopes: readonly string[];
}

interface AccountConnection {
  /** Name of the connection at the tenant. */
  readonly connection: string;
  readonly redirectUri: string;
  /** Requested scopes; replace the account's scopes. Empty: the scopes of the connection's setup. */
  readonly scopes: readonly string[];
}

/** A started connection, with its state until the callback. */
export interface BegunConnection {
  /** URL that the user's browser opens. */
  readonly url: string;
  readonly redirectUri: string;
  /** Random; secret except for the user's browser. */
  readonly state: string;
  /** Random; secret (RFC 7636 §4.1). */
  readonly codeVerifier: string;
  /** Secret. */
  readonly authSession: string;
}

const pageSize = 20;
const maxPages = 50;

/**
 * Returns the accounts of one connection.
 * @throws SidekeyError as every function here: `provider_refused`, `address_blocked`, `upstream_unreachable`
 */
export async function listAccounts(
  api: AccountApi,
  connection: string,
): Promise<readonly ConnectedAccount[]> {
  const pages = await allPages(api, 'accounts', { connection });
  return pages.map(readAccount).filter((account) => account.connection === connection);
}

/** Returns the names of the connections that the client may connect accounts of. */
export async function listConnections(api: AccountApi): Promise<readonly string[]> {
  const pages = await allPages(api, 'connections', {});
  return pages.map((connection) => textIn(connection, 'name'));
}

/** Starts to connect an account, or to connect it again with other scopes. */
export async function beginConnection(
  api: AccountApi,
  { connection, redirectUri, scopes }: AccountConnection,
): Promise<BegunConnection> {
  const state = oauth.generateRandomState();
  const codeVerifier = oauth.generateRandomCodeVerifier();
  const answer = await call(api, 'POST', 'connect', {
    body: {
      connection,
      redirect_uri: redirectUri,
      state,
      code_challenge: await oauth.calculatePKCECodeChallenge(codeVerifier),
      code_challenge_method: 'S256',
      ...(scopes.length === 0 ? {} : { scopes }),
    },
    secrets: [state],
  });
  const parameters = answer['connect_params'];
  const url = URL.parse(textIn(answer, 'connect_uri'));
  // The URL is opened in the user's browser, so only a web page is safe.
  if (url?.protocol !== 'https:' || url.username !== '' || url.password !== '') throw unreadable();
  url.searchParams.set('ticket', textIn(isObject(parameters) ? parameters : {}, 'ticket'));
  return { url: url.href, redirectUri, state, codeVerifier, authSession: textIn(answer, 'auth_session') };
}

/** Completes a connection with the code of the callback. */
export async function completeConnection(
  api: AccountApi,
  { authSession, redirectUri, codeVerifier }: BegunConnection,
  connectCode: string,
): Promise<ConnectedAccount> {
  const answer = await call(api, 'POST', 'complete', {
    body: {
      auth_session: authSession,
      connect_code: connectCode,
      redirect_uri: redirectUri,
      code_verifier: codeVerifier,
    },
    secrets: [authSession, connectCode, codeVerifier],
  });
  return readAccount(answer);
}

/** Disconnects an account: Auth0 deletes its tokens. Succeeds if the account does not exist. */
export async function deleteAccount(api: AccountApi, id: string): Promise<void> {
  // A dot or a slash would change the path.
  if (!/^[A-Za-z0-9_-]+$/.test(id)) throw new SidekeyError('internal', 'The id of an account is not valid.');
  await call(api, 'DELETE', `accounts/${id}`);
}

async function allPages(
  api: AccountApi,
  what: 'accounts' | 'connections',
  filter: Readonly<Record<string, string>>,
): Promise<readonly JsonObject[]> {
  const entries: JsonObject[] = [];
  const query = new URLSearchParams({ ...filter, take: String(pageSize) });
  for (let page = 0; page < maxPages; page += 1) {
    const answer = await call(api, 'GET', `${what}?${query.toString()}`);
    const listed = answer[what];
    if (!Array.isArray(listed)) throw unreadable();
    entries.push(...listed.filter(isObject));
    if (typeof answer['next'] !== 'string' || answer['next'] === '') break;
    query.set('from', answer['next']);
  }
  return entries;
}

async function call(
  { at, accessToken, io }: AccountApi,
  method: 'GET' | 'POST' | 'DELETE',
  path: string,
  { body = null, secrets = [] }: { readonly body?: object | null; readonly secrets?: readonly string[] } = {},
): Promise<JsonObject> {
  const answer = await askEndpoint(
    {
      name: 'the My Account API',
      url: new URL(`/me/v1/connected-accounts/${path}`, at).href,
      method,
      headers: {
        accept: 'application/json',
        authorization: `Bearer ${accessToken}`,
        ...(body === null ? {} : { 'content-type': 'application/json' }),
      },
      body: body === null ? null : JSON.stringify(body),
    },
    io,
  );
  io.signal?.throwIfAborted();
  switch (answer.kind) {
    case 'error':
      throw answer.error === 'address_blocked'
        ? new SidekeyError('address_blocked', answer.description)
        : refusedCall(answer.description);
    case 'later':
      throw new SidekeyError('upstream_unreachable', `Auth0 cannot be asked now: ${answer.reason}.`, {
        hint: waitHint(answer.retryAfterMs),
      });
    case 'answer':
      return readBody(answer, method, [accessToken, ...secrets]);
  }
}

function readBody(answer: EndpointAnswer, method: string, secrets: readonly string[]): JsonObject {
  const { status, text } = answer;
  const body = jsonObject(text);
  if (status >= 200 && status < 300) {
    if (method === 'DELETE') return {};
    if (body === null) throw unreadable();
    return body;
  }
  if (method === 'DELETE' && status === 404) return {};
  throw refusedCall(`HTTP ${status}${reasonIn(body, secrets)}`, status);
}

/** Formats an `ErrorResponse` of the API: `title`, `detail`, and the error of each field. */
function reasonIn(body: JsonObject | null, secrets: readonly string[]): string {
  const detail = body?.['detail'] ?? body?.['title'];
  const errors = body?.['validation_errors'];
  const details = [
    detail,
    ...(Array.isArray(errors) ? errors.filter(isObject).map((one) => one['detail']) : []),
  ]
    .filter((text) => typeof text === 'string' && text !== '')
    .join('; ');
  return details === '' ? '' : `: ${describe(details, secrets)}`;
}

function refusedCall(reason: string, status = 0): SidekeyError {
  const hint =
    status === 401 || status === 403
      ? 'let the application use the My Account API with all scopes of connected accounts: docs/auth0-token-vault.md'
      : 'check the connection and the application at Auth0: docs/auth0-token-vault.md';
  return new SidekeyError('provider_refused', `Auth0 said no (${reason}).`, { hint });
}

function waitHint(retryAfterMs: number | null): string {
  return retryAfterMs === null ? 'try again later' : `try again in ${Math.ceil(retryAfterMs / 1000)} s`;
}

function readAccount(value: JsonObject): ConnectedAccount {
  const { scopes } = value;
  return {
    id: textIn(value, 'id'),
    connection: textIn(value, 'connection'),
    scopes: Array.isArray(scopes) ? scopes.filter((scope) => typeof scope === 'string') : [],
  };
}

function textIn(object: JsonObject, name: string): string {
  const value = object[name];
  if (typeof value !== 'string' || value === '') throw unreadable();
  return value;
}

function unreadable(): SidekeyError {
  return new SidekeyError(
    'provider_refused',
    'The My Account API of Auth0 sent an answer that is not of its form.',
    { hint: hintOf`check the domain of the login: ${remedy('provider.get', { provider: 'auth0' })}` },
  );
}

/** Errors of Auth0's token endpoint that end a login. Pure. */

/** The last three are from OpenID Connect Core §3.1.2.6. */
const ended = new Set([
  'invalid_grant',
  'expired_token',
  'interaction_required',
  'login_required',
  'consent_required',
]);

/** Returns whether the login's refresh token is no longer valid, so that a new login is required. */
export function loginHasEnded(error: string): boolean {
  return ended.has(error);
}

/** Callback from Auth0 after a connection: an authorization response, except for the name of its code. */

/** Values to check a connect callback against. */
interface ConnectCallbackExpectation {
  readonly provider: Provider;
  readonly state: string;
  readonly codeVerifier: string;
}

/**
 * Parses what a person pasted. Auth0's documentation has the code in the URL fragment, its libraries read it
 * from the query. Both are accepted.
 * @throws SidekeyError `input_invalid`
 */
export function parseConnectCallback(text: string): Callback {
  const query = text.replace('#', text.includes('?') ? '&' : '?');
  return parseCallback(query.replace(/(^|[?&\s"'<])connect_code=/g, '$1code='));
}

/**
 * Returns the code for `completeConnection`. A bare code is bound to the flow by its code verifier and
 * session.
 * @throws SidekeyError as `checkCallback`
 */
export function checkConnectCallback(callback: Callback, expected: ConnectCallbackExpectation): string {
  return checkCallback(withCode(callback), { ...expected, acceptBareCode: true }).code;
}

function withCode(callback: Callback): Callback {
  if (callback.kind === 'code') return callback;
  const parameters = new URLSearchParams();
  for (const [name, value] of callback.parameters)
    parameters.append(name === 'connect_code' ? 'code' : name, value);
  return { kind: 'parameters', parameters };
}
