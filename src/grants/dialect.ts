/**
 * How a provider's OAuth differs from the RFCs: data that the flows read, so that no flow knows a provider by name.
 * Members of answers are named by paths, with dots between the names.
 */
export interface Dialect {
  /** Between scopes, in requests and in answers. RFC 6749 §3.3 says a space; an answer is split at spaces too. */
  readonly scopeSeparator: string;
  /** Slack asks for the scopes of a user in `user_scope`. */
  readonly scopeParameter: string;
  /** TikTok says `client_key`. */
  readonly clientIdParameter: string;
  /** False: the provider refuses the parameters of RFC 7636. `state` still ties the answer to the request. */
  readonly pkce: boolean;
  /** Besides those of RFC 6749 §4.1.1, such as Google's `access_type=offline`. */
  readonly authorizationParameters: Readonly<Record<string, string>>;
  /** Besides those of the RFCs, with every token request. */
  readonly tokenParameters: Readonly<Record<string, string>>;
  /** With every token request, such as Reddit's `User-Agent`. */
  readonly tokenHeaders: Readonly<Record<string, string>>;
  /** `json`: parameters as a JSON object where RFC 6749 has a form. */
  readonly tokenBody: 'form' | 'json';
  /** Whether a refresh names the granted scopes. */
  readonly refreshScope: boolean;
  /** Where tokens are refreshed, where that is not the token endpoint (Figma). */
  readonly refreshEndpoint: string | null;
  readonly answer: AnswerDialect;
  /** Parameters of the redirect that say which account it is (QuickBooks: `realmId`); kept with the grant. */
  readonly callbackDetails: readonly string[];
  /** Members of the token answer that say which account it is; kept with the grant. Never a secret. */
  readonly answerDetails: readonly string[];
  /** A refresh token that is not used for this long is dead; null: not known. In milliseconds. */
  readonly refreshTokenIdleMs: number | null;
  /** However often it is used, a new consent is needed after this long; null: not known. In milliseconds. */
  readonly refreshTokenLifeMs: number | null;
  readonly revocation: RevocationDialect;
  readonly scopeRefusal: ScopeRefusalDialect;
}

/** How the answer of a token endpoint is read. */
export interface AnswerDialect {
  /** Where the tokens are; null, or where there is nothing at that place: at the top. */
  readonly at: string | null;
  /** A member that is false in an answer that is an error, whatever its status (Slack: `ok`). */
  readonly ok: string | null;
  readonly error: string;
  readonly accessToken: string;
  readonly refreshToken: string;
  readonly expiresIn: string;
  /** A member with the time at which the token ends (ISO 8601 or seconds since the epoch); null: there is none. */
  readonly expiresAt: string | null;
  readonly scope: string;
  /** Between scopes in the answer; null: the same as in requests. A space always parts them too. */
  readonly scopeSeparator: string | null;
  /** Values of `token_type` that mean bearer here (Slack: `bot`, `user`). */
  readonly tokenTypes: readonly string[];
}

/** How revoking differs from RFC 7009. */
export interface RevocationDialect {
  readonly method: 'POST' | 'DELETE' | 'GET';
  /** Where it is not the revocation endpoint; `{client_id}` in it stands for the client. */
  readonly url: string | null;
  readonly body: 'form' | 'json' | 'none';
  /** The name that the token has in the body, or for GET in the query. */
  readonly parameter: string;
  /** `client`: as at the token endpoint. `bearer`: with the access token itself. */
  readonly auth: 'client' | 'basic' | 'bearer' | 'none';
  /** Which token ends the whole grant. */
  readonly token: 'refresh_token' | 'access_token';
  readonly ok: string | null;
}

/** How an API says that a token lacks a scope, besides RFC 6750 §3.1. */
export interface ScopeRefusalDialect {
  /** Whether the `scope` of a challenge lists what is needed together, or what would each do (Google). */
  readonly challenge: 'all' | 'any';
  /** The field that lists the scopes of the token (GitHub: `X-OAuth-Scopes`); null: there is none. */
  readonly heldField: string | null;
  /** The field that lists scopes of which one is needed (GitHub: `X-Accepted-OAuth-Scopes`); null: there is none. */
  readonly acceptedField: string | null;
  /** Fields and values with which the refusal is for something else, whatever those two say. */
  readonly unless: Readonly<Record<string, string>>;
}
