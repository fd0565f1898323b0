/** Token exchange (RFC 8693): somebody else's token is exchanged for one of this provider. */
import type { Dialect } from '../grants/dialect.ts';
import { askTokenEndpoint, type TokenAnswer, type TokenClient, type TokenIo } from './token-endpoint.ts';

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
  /** As it is sent; null: none is named. */
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
      description: 'the provider issued a token that is no access token',
    };
  }
  return answer;
}

function optional(name: string, value: string | null): Readonly<Record<string, string>> {
  return value === null ? {} : { [name]: value };
}
