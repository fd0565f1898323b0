import { createHash, randomBytes } from 'node:crypto';
import { consentAs, SignInError, type Person } from './consent.ts';
import { send, type Connection } from './connection.ts';

/** A confidential client as its company registered it. */
export interface ClientCredentials {
  readonly clientId: string;
  readonly clientSecret: string;
}

/** A request for authorization, with what the client keeps to itself until the answer comes. */
export interface AuthorizationRequest {
  readonly url: URL;
  readonly state: string;
  /** RFC 7636 §4.1. */
  readonly codeVerifier: string;
}

/** RFC 6749 §5.1. */
export interface TokenResponse {
  readonly access_token: string;
  readonly token_type: string;
  readonly expires_in: number;
  readonly refresh_token?: string;
  readonly scope?: string;
  readonly id_token?: string;
}

/** The token endpoint said no (RFC 6749 §5.2). */
export class TokenError extends Error {
  override readonly name = 'TokenError';
  readonly status: number;
  /** `invalid_grant` and the like; '' where the answer was not OAuth's. */
  readonly code: string;

  constructor(status: number, code: string, description: string) {
    super(`The token endpoint answered ${status} ${code}: ${description}`);
    this.status = status;
    this.code = code;
  }
}

/** Makes an authorization request with PKCE (RFC 7636, S256) and a fresh state. */
export function authorizationRequest(
  issuer: string,
  { clientId, scope, redirectUri }: { clientId: string; scope: string; redirectUri: string },
): AuthorizationRequest {
  const state = randomBytes(16).toString('base64url');
  const codeVerifier = randomBytes(32).toString('base64url');
  const url = new URL('/authorize', issuer);
  url.search = new URLSearchParams({
    response_type: 'code',
    client_id: clientId,
    redirect_uri: redirectUri,
    scope,
    state,
    code_challenge: createHash('sha256').update(codeVerifier).digest('base64url'),
    code_challenge_method: 'S256',
  }).toString();
  return { url, state, codeVerifier };
}

/** Sends one request to the token endpoint. Throws `TokenError` where it says no. */
export async function requestTokens(
  connection: Connection,
  client: ClientCredentials,
  parameters: Readonly<Record<string, string>>,
): Promise<TokenResponse> {
  const answer = await send(connection, new URL('/token', connection.issuer), {
    method: 'POST',
    headers: { 'content-type': 'application/x-www-form-urlencoded', authorization: basic(client) },
    body: new URLSearchParams(parameters).toString(),
  });
  const body = parseObject(answer.body);
  if (answer.status !== 200) {
    throw new TokenError(answer.status, textOf(body['error']), textOf(body['error_description']));
  }
  return body as unknown as TokenResponse;
}

/**
 * Exchanges the code that came back in a redirect for tokens, once state and issuer (RFC 9207) are checked.
 */
export async function exchangeCode(
  connection: Connection,
  client: ClientCredentials,
  request: AuthorizationRequest,
  redirect: URL,
): Promise<TokenResponse> {
  const answer = redirect.searchParams;
  if (answer.get('state') !== request.state) throw new SignInError('The redirect carries another state.');
  if (answer.get('iss') !== connection.issuer)
    throw new SignInError('The redirect comes from another issuer.');
  const code = answer.get('code');
  if (code === null)
    throw new SignInError(answer.get('error_description') ?? answer.get('error') ?? 'No code.');
  return requestTokens(connection, client, {
    grant_type: 'authorization_code',
    code,
    redirect_uri: request.url.searchParams.get('redirect_uri') ?? '',
    code_verifier: request.codeVerifier,
  });
}

/** The whole authorization: the client's request, the person's consent, the exchange. */
export async function obtainTokens(
  connection: Connection,
  client: ClientCredentials,
  person: Person,
  { scope, redirectUri = 'http://127.0.0.1/callback' }: { scope: string; redirectUri?: string },
): Promise<TokenResponse> {
  const request = authorizationRequest(connection.issuer, { clientId: client.clientId, scope, redirectUri });
  const redirect = await consentAs(request.url, person, connection);
  return exchangeCode(connection, client, request, redirect);
}

/** RFC 6749 §2.3.1: both parts are form-encoded first. */
function basic({ clientId, clientSecret }: ClientCredentials): string {
  const pair = `${formEncoded(clientId)}:${formEncoded(clientSecret)}`;
  return `Basic ${Buffer.from(pair).toString('base64')}`;
}

function formEncoded(text: string): string {
  return new URLSearchParams({ '': text }).toString().slice(1);
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

function parseObject(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}
