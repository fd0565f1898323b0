import { randomUUID } from 'node:crypto';
import type { SigningKey } from '../../domain/credential.ts';
import type { Dialect } from '../../domain/provider.ts';
import type { TokenAnswer } from './answer.ts';
import type { TokenIo } from './http.ts';
import { signJwt } from './signing-key.ts';
import { askTokenEndpoint, type TokenClient } from './token-endpoint.ts';

/** A token request for the client itself (RFC 6749 §4.4). */
export interface ClientCredentialsRequest {
  /** An https URL. */
  readonly endpoint: string;
  readonly client: TokenClient;
  readonly dialect: Dialect;
  /** Value of `scope`; null: omitted, and the provider chooses. */
  readonly scope: string | null;
  /** Further parameters, sent unchanged (`audience`, `resource` …). */
  readonly parameters: Readonly<Record<string, string>>;
}

/** Requests a token. Never rejects because of a provider or the network. */
export function requestClientCredentials(
  { endpoint, client, dialect, scope, parameters }: ClientCredentialsRequest,
  io: TokenIo,
): Promise<TokenAnswer> {
  return askTokenEndpoint(
    {
      endpoint,
      client,
      dialect,
      grantType: 'client_credentials',
      parameters: { ...parameters, ...(scope === null ? {} : { scope }) },
      secrets: [],
    },
    io,
  );
}

/** Assertions as authorization grants (RFC 7523 §2.1): a JWT of Sidekey is exchanged for an access token. */

interface AssertionRequest extends Omit<ClientCredentialsRequest, 'client'> {
  /** Null: no client is named; the assertion identifies the caller. */
  readonly client: TokenClient | null;
}

export interface JwtBearerRequest extends AssertionRequest {
  readonly key: SigningKey;
  readonly issuer: string;
  readonly subject: string;
  readonly audience: string;
}

/** RFC 7523 §2.1. */
export const jwtBearerGrantType = 'urn:ietf:params:oauth:grant-type:jwt-bearer';

/** Lifetime of an assertion in seconds. Google accepts at most an hour, Salesforce three minutes. */
const lifetimeS = 180;

/**
 * Signs an assertion and requests a token. The assertion has the scope as well: Google and DocuSign read it
 * there, while RFC 7521 §4.1 has it as a parameter. Never rejects because of a provider or the network. If
 * the key cannot sign, returns the error `key_invalid`.
 */
export async function requestJwtBearer(request: JwtBearerRequest, io: TokenIo): Promise<TokenAnswer> {
  const { endpoint, client, dialect, scope, parameters } = request;
  const assertion = await signAssertion(request, io.now());
  if (assertion === null) {
    return {
      kind: 'error',
      error: 'key_invalid',
      description: `the private key does not sign with ${request.key.algorithm}`,
    };
  }
  return askTokenEndpoint(
    {
      endpoint,
      client,
      dialect,
      grantType: jwtBearerGrantType,
      parameters: { ...parameters, ...(scope === null ? {} : { scope }), assertion },
      secrets: [assertion],
    },
    io,
  );
}

/** Signs the required claims (RFC 7523 §3), `iat`, and a `jti` that makes each assertion unique. */
async function signAssertion(request: JwtBearerRequest, now: number): Promise<string | null> {
  const { key, issuer, subject, audience, scope } = request;
  const issuedAt = Math.floor(now / 1000);
  try {
    return await signJwt(key, {
      iss: issuer,
      sub: subject,
      aud: audience,
      iat: issuedAt,
      exp: issuedAt + lifetimeS,
      jti: randomUUID(),
      ...(scope === null ? {} : { scope }),
    });
  } catch {
    // Error messages may quote the key.
    return null;
  }
}

/** Token exchange (RFC 8693): a token of another issuer is exchanged for one of this provider. */

/** A token exchange (RFC 8693 §2.1). */
export interface TokenExchangeRequest extends AssertionRequest {
  readonly subjectToken: string;
  readonly subjectTokenType: string;
  readonly actorToken: string | null;
  readonly actorTokenType: string | null;
  readonly requestedTokenType: string | null;
}

/** RFC 8693 §2.1. */
export const tokenExchangeGrantType = 'urn:ietf:params:oauth:grant-type:token-exchange';

/** RFC 8693 §3. */
export const typePrefix = 'urn:ietf:params:oauth:token-type:';

/** Token types (RFC 8693 §3) that requests cannot carry. Accepted only if requested. */
const notForRequests = new Set(
  ['refresh_token', 'id_token', 'saml1', 'saml2'].map((name) => typePrefix + name),
);

/** Exchanges a token. Never rejects because of a provider or the network. */
export async function exchangeToken(request: TokenExchangeRequest, io: TokenIo): Promise<TokenAnswer> {
  const { endpoint, client, dialect, subjectToken, actorToken, requestedTokenType, scope } = request;
  const parameters = {
    ...request.parameters,
    subject_token: subjectToken,
    subject_token_type: request.subjectTokenType,
    ...optional('actor_token', actorToken),
    ...optional('actor_token_type', actorToken === null ? null : request.actorTokenType),
    ...optional('requested_token_type', requestedTokenType),
    ...optional('scope', scope),
  };
  const answer = await askTokenEndpoint(
    {
      endpoint,
      client,
      dialect,
      grantType: tokenExchangeGrantType,
      parameters,
      secrets: [subjectToken, actorToken ?? ''],
    },
    io,
  );
  if (
    answer.kind === 'tokens' &&
    answer.issuedTokenType !== null &&
    answer.issuedTokenType !== requestedTokenType &&
    notForRequests.has(answer.issuedTokenType)
  ) {
    return {
      kind: 'error',
      error: 'unsupported_token_type',
      description: 'the provider issued a token that is not an access token',
    };
  }
  return answer;
}

function optional(name: string, value: string | null): Readonly<Record<string, string>> {
  return value === null ? {} : { [name]: value };
}
