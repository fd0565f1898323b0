import { randomUUID } from 'node:crypto';
import type { SigningKey } from '../domain/credential.ts';
import type { Dialect } from '../domain/provider.ts';
import type { TokenAnswer } from './answer.ts';
import type { TokenIo } from './http.ts';
import { signJwt } from './signing-key.ts';
import { askTokenEndpoint, type TokenClient } from './token-endpoint.ts';

/** One token for the client itself (RFC 6749 §4.4). */
export interface ClientCredentialsRequest {
  /** An https URL. */
  readonly endpoint: string;
  readonly client: TokenClient;
  readonly dialect: Dialect;
  /** The scope as it is sent; null: none is named, and the provider chooses. */
  readonly scope: string | null;
  /** Sent as they are (`audience`, `resource` …). */
  readonly parameters: Readonly<Record<string, string>>;
}

/** Asks for a token. Never rejects for what a provider or a network may do. */
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

/** Assertions as authorization grants (RFC 7523 §2.1): a JWT of our own is exchanged for an access token. */

/** One assertion, and where it goes. */
export interface JwtBearerRequest {
  /** An https URL. */
  readonly endpoint: string;
  /** Null: none is named; the assertion says who asks. */
  readonly client: TokenClient | null;
  readonly dialect: Dialect;
  readonly key: SigningKey;
  readonly issuer: string;
  readonly subject: string;
  readonly audience: string;
  /** The scope as it is sent; null: none is named. */
  readonly scope: string | null;
  /** Sent as they are. */
  readonly parameters: Readonly<Record<string, string>>;
}

/** RFC 7523 §2.1. */
const jwtBearerGrantType = 'urn:ietf:params:oauth:grant-type:jwt-bearer';

/**
 * The life of an assertion, in seconds. It is used at once; Google takes an hour at the most, Salesforce three
 * minutes.
 */
const lifetimeS = 180;

/**
 * Signs an assertion and asks for a token. The scope stands in the assertion too: Google and DocuSign read it there, and
 * RFC 7521 §4.1 has it as a parameter. Never rejects for what a provider or a network may do; a key that cannot sign is
 * the answer `key_invalid`.
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

/** RFC 7523 §3: the claims that are required, `iat`, and a `jti` so that no two assertions are the same. */
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
    // Messages about the key may quote it.
    return null;
  }
}

/** Token exchange (RFC 8693): somebody else's token is exchanged for one of this provider. */

/** One exchange (RFC 8693 §2.1). */
export interface TokenExchangeRequest {
  /** An https URL. */
  readonly endpoint: string;
  /** Null: none is named. */
  readonly client: TokenClient | null;
  readonly dialect: Dialect;
  readonly subjectToken: string;
  readonly subjectTokenType: string;
  readonly actorToken: string | null;
  readonly actorTokenType: string | null;
  readonly requestedTokenType: string | null;
  /** The scope as it is sent; null: none is named. */
  readonly scope: string | null;
  /** Sent as they are (`audience`, `resource` …). */
  readonly parameters: Readonly<Record<string, string>>;
}

/** RFC 8693 §2.1. */
const tokenExchangeGrantType = 'urn:ietf:params:oauth:grant-type:token-exchange';

/** RFC 8693 §3: what these name is no token that a request could carry, unless somebody asked for just that. */
const notForRequests = new Set(
  ['refresh_token', 'id_token', 'saml1', 'saml2'].map((name) => `urn:ietf:params:oauth:token-type:${name}`),
);

/** Exchanges a token. Never rejects for what a provider or a network may do. */
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
