import type { MintRow } from '../proxy/policy/domain-map.ts';
import type { Glob } from '../proxy/policy/text.ts';
import type { DpopAlgorithm, RegisteredByItself } from './credential.ts';

/**
 * A provider definition: the sources of consent and tokens, the hosts that receive the credential, and its
 * placement. Files in `config/providers/` are built in; `providers` of the config file adds or replaces some.
 */
export interface Provider {
  readonly name: string;
  /** Title for people. */
  readonly title: string;
  /** One word of a fixed list, for people. */
  readonly category: string;
  /** Pages of the provider's own documentation. */
  readonly docs: readonly string[];
  readonly authorizationEndpoint: string | null;
  /** RFC 8628 §3.1. */
  readonly deviceAuthorizationEndpoint: string | null;
  readonly tokenEndpoint: string | null;
  readonly revocationEndpoint: string | null;
  /** OpenID Connect Core §5.3; null: unknown. */
  readonly userinfoEndpoint: string | null;
  /** RFC 8414 `issuer`, compared with that of the authorization response (RFC 9207) if both are known. */
  readonly issuer: string | null;
  /** True if every authorization response has `iss`: one without it is refused (RFC 9207 §2.4). */
  readonly namesIssuer: boolean;
  readonly clientId: string | null;
  /** Reads the secret from its reference; `isTrial` runs no command. Null: a public client. */
  readonly clientSecret: ((isTrial?: boolean) => Promise<string>) | null;
  /** Absolute path of the file with the client secret; null: no file has it. */
  readonly clientSecretFile: string | null;
  readonly clientAuth: ClientAuth;
  /** Mark of the client, for its credential. No definition has it: the grants of the client do. */
  readonly registered?: RegisteredByItself;
  /** Registered redirect URI of the client; null: any port of the loopback address (RFC 8252 §7.3). */
  readonly redirectUri: string | null;
  /**
   * Redirect URIs that the provider accepts. `loopback`: any port of 127.0.0.1; `localhost`: one registered
   * with its port; `https`: none of this machine, so the person pastes the browser's final URL.
   */
  readonly redirectUriType: 'loopback' | 'localhost' | 'https';
  /** Algorithm of DPoP proofs (RFC 9449). The key stays on this machine. Null: tokens are not bound. */
  readonly dpop: DpopAlgorithm | null;
  /** Flows of the provider, the usual one first; empty: tokens can only be pasted. */
  readonly flows: readonly Flow[];
  /** Default scopes. */
  readonly scopes: readonly string[];
  readonly knownScopes: readonly { readonly name: string; readonly what: string }[];
  /** Domain patterns that a credential of this provider may be sent to. */
  readonly audience: readonly string[];
  /** Hosts that `connect` offers for the domain map. */
  readonly domains: readonly string[];
  /**
   * Placements of the credential. The first whose hosts and paths match the request applies. Without a match,
   * the credential is not sent.
   */
  readonly inject: readonly InjectPlace[];
  /** Parts of a request where placeholders are replaced, besides the fields that `inject` sets. */
  readonly placeholders: readonly PlaceholderPlace[];
  /** Query or form parameters that override the method at the service, besides those built into rules. */
  readonly methodOverrideParameters: readonly string[];
  /**
   * Action for a body with a placeholder where none is replaced. `pass` forwards it and records it: for
   * services that receive whole conversations, in which a program may have printed its environment.
   */
  readonly unexpectedPlaceholders: 'refuse' | 'pass';
  /** Path prefixes where the service echoes the request, with the credential. */
  readonly echoPaths: readonly string[];
  /** Keys and personal tokens that a person can paste; null: none. */
  readonly token: PastedToken | null;
  readonly dialect: Dialect;
  /** `User-Agent` of Sidekey's own requests; null: `sidekey/VERSION`. */
  readonly userAgent: string | null;
  /** Responses that report an ended token, besides 401. Any of them renews the token. */
  readonly expired: readonly ExpiredSign[];
  /** Null: the service takes no assertion of the identity provider where people sign in. */
  readonly idJag: IdJag | null;
  /** Steps to register a client; null: unknown. */
  readonly clientRegistration: { readonly url: string; readonly steps: readonly string[] } | null;
  readonly probe: Probe | null;
  readonly notes: readonly string[];
  /** Programs that log in at the provider themselves. */
  readonly logins: readonly LoginClient[];
  /** True if the logins of these programs become grants, and the programs get placeholders. */
  readonly capturesLogins: boolean;
  /** Variables in which programs look for a credential of the provider. */
  readonly environment: readonly CredentialVariable[];
  /** Variables in which programs look for the base URL of the API, with the URL of the service. */
  readonly baseUrls: Readonly<Record<string, string>>;
  /** Requests whose answers hand out credentials. */
  readonly mints: readonly MintRow[];
  /** Descriptions of requests. The first match applies. */
  readonly operations: readonly Operation[];
  /** Durations of leases for grants of the provider, in milliseconds; null: as configured globally. */
  readonly lease: { readonly defaultMs: number | null; readonly maxMs: number | null };
  /** Settings that each customer chooses, with their values; null: required but not set. */
  readonly settings: readonly Setting[];
}

/**
 * Client authentication at the token endpoint (RFC 6749 §2.3.1). In `private_key_jwt` (RFC 7523 §2.2) the
 * client secret is the private key.
 */
export type ClientAuth = 'basic' | 'post' | 'none' | 'private_key_jwt';

/** A service that takes identity assertion grants (draft-ietf-oauth-identity-assertion-authz-grant). */
export interface IdJag {
  /** Issuer of the authorization server of the service. */
  readonly audience: string;
  /** Identifier of the API (RFC 8707); null: none is sent. */
  readonly resource: string | null;
  /** True if the identity provider names a person differently to each client (OpenID Connect Core §8). */
  readonly isPairwise: boolean;
}

/** A request of the API. */
export interface Operation {
  readonly method: string;
  /** Host of the operation; absent: any host of the provider. */
  readonly host?: string | undefined;
  /** Template of the path; see `parsePathTemplate`. */
  readonly path: string;
  /** End of a sentence: `send mail`. */
  readonly words: string;
  /** Scopes of which one is enough; absent: the service has none, or the request needs none. */
  readonly scopes?: readonly string[] | undefined;
  /** Example: the query of a GET, otherwise the body as JSON or a form. */
  readonly example?: string | undefined;
}

export type Flow =
  | 'authorization_code'
  | 'device_code'
  | 'client_credentials'
  | 'jwt_bearer'
  | 'token_exchange'
  | 'id_jag'
  | 'auth0_connection'
  | 'github_installation'
  | 'aws_role';

/** A part of URLs and hosts that is specific to a customer. Endpoints are null until all values are set. */
export interface Setting {
  readonly name: string;
  readonly description: string;
  readonly example: string;
  readonly value: string | null;
}

/** A token that a person creates at the provider and pastes. */
export interface PastedToken {
  readonly label: string;
  readonly url: string | null;
  readonly steps: readonly string[];
  readonly parts: readonly TokenPart[];
  readonly inject: TokenInjection;
}

/** A program that acts as a client of the token endpoint by itself (RFC 6749 §2). */
export interface LoginClient {
  /** Name for people. */
  readonly program: string;
  readonly clientId: string;
  /** Templates of placeholders in the form of the tokens; null: any form, or the form of a JWT. */
  readonly accessToken: string | null;
  readonly refreshToken: string | null;
  /** Members of the token response that the program reads besides RFC 6749 §5.1. Never secret. */
  readonly answerFields: readonly string[];
}

/** A variable that programs of a provider read their credential from. */
interface CredentialVariable {
  readonly name: string;
  /** Value for clients in place of a credential. Grants no access. Null: no value. */
  readonly placeholder: string | null;
  /** True: the client secret, which only Sidekey uses. */
  readonly isClientSecret?: boolean;
}

export interface TokenPart {
  readonly name: string;
  readonly label: string;
  readonly secret: boolean;
  readonly prefixes: readonly {
    readonly prefix: string;
    readonly label: string;
    /** True if the prefix marks a value of the wrong kind. */
    readonly wrongKind: boolean;
  }[];
}

/**
 * `inject`: the only part, placed by the provider's `inject`. `aws`: the parts `access_key_id` and
 * `secret_access_key` sign. In the other kinds, `{name}` is a placeholder for a part.
 */
export type TokenInjection =
  | { readonly kind: 'aws' }
  | { readonly kind: 'inject' }
  | { readonly kind: 'basic'; readonly username: string; readonly password: string }
  | { readonly kind: 'headers'; readonly headers: readonly (readonly [name: string, value: string])[] };

/** A harmless request that shows whether a credential works: a GET, or a POST if `json` is set. */
export interface Probe {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly json: Readonly<Record<string, unknown>> | null;
  /** Member of the JSON response that must be true; null: only the status counts. */
  readonly okField: string | null;
  /** Members of the JSON response that name the account. */
  readonly accountFields: readonly string[];
}

/** A response that reports an ended token. Without `path` and `header`, the status suffices. */
export interface ExpiredSign {
  readonly statuses: readonly number[];
  /** Names of the members that lead to a value in a JSON body; null: the body is not read. */
  readonly path: readonly string[] | null;
  /** Name of a header field in lower case; null: no field. */
  readonly header: string | null;
  /** One of them matches the value. */
  readonly values: readonly Glob[];
}

/** Placement of a credential: the kind of an `AuthScheme` (`proxy/schemes/`), with settings only it reads. */
export type Placement = { readonly kind: string; readonly [setting: string]: unknown };

/** Parts of a request that may have a placeholder; `header`: any field, including the `Basic` pair. */
export const placeholderPlaces = ['header', 'path', 'query', 'body', 'websocket'] as const;
export type PlaceholderPlace = (typeof placeholderPlaces)[number];

/** Hosts and paths of a provider, and the placement of its credential there. */
export interface InjectPlace {
  /** Domain patterns; null: all hosts. */
  readonly hosts: readonly string[] | null;
  /** Path globs; null: all paths. */
  readonly paths: readonly string[] | null;
  readonly as: Placement;
}

/**
 * Deviations of a provider's OAuth from the RFCs, as data, so that no flow has code for one provider. Members
 * of responses are named by dotted paths.
 */
export interface Dialect {
  /** Separator of scopes (RFC 6749 §3.3: a space). Responses are also split at spaces. */
  readonly scopeSeparator: string;
  /** Slack has `user_scope` for the scopes of a user. */
  readonly scopeParameter: string;
  /** TikTok has `client_key`. */
  readonly clientIdParameter: string;
  /** False if the provider refuses PKCE (RFC 7636). `state` still binds the response to the request. */
  readonly pkce: boolean;
  /** Parameters besides those of RFC 6749 §4.1.1, such as Google's `access_type=offline`. */
  readonly authorizationParameters: Readonly<Record<string, string>>;
  /** Parameters of every token request, besides those of the RFCs. */
  readonly tokenParameters: Readonly<Record<string, string>>;
  /** Header fields of every token request, such as Reddit's `User-Agent`. */
  readonly tokenHeaders: Readonly<Record<string, string>>;
  /** `json`: parameters are sent as a JSON object instead of a form (RFC 6749). */
  readonly tokenBody: 'form' | 'json';
  /** True if refresh requests name the granted scopes. */
  readonly sendScopeOnRefresh: boolean;
  /** Endpoint for refreshes, which Figma has; null: the token endpoint. */
  readonly refreshEndpoint: string | null;
  readonly tokenResponse: TokenResponseDialect;
  /** Parameters of the redirect that identify the account (QuickBooks: `realmId`); kept with the grant. */
  readonly accountParameters: readonly string[];
  /** Members of the token response that identify the account; kept with the grant. Never a secret. */
  readonly accountFields: readonly string[];
  /** Milliseconds without use after which a refresh token expires; null: unknown. */
  readonly refreshTokenIdleTimeoutMs: number | null;
  /** Milliseconds after which a new consent is required, despite use; null: unknown. */
  readonly refreshTokenLifetimeMs: number | null;
  readonly revocation: RevocationDialect;
  readonly insufficientScope: InsufficientScopeDialect;
}

/** Names of members in the response of a token endpoint. */
export interface TokenResponseDialect {
  /** Path to the object with the tokens; null, or nothing at that path: the top level. */
  readonly root: string | null;
  /** Member that is false in an error response of any status (Slack: `ok`). */
  readonly okField: string | null;
  readonly error: string;
  readonly accessToken: string;
  readonly refreshToken: string;
  readonly expiresIn: string;
  /** Member with the expiry of the token (ISO 8601 or seconds since the epoch); null: none. */
  readonly expiresAt: string | null;
  readonly scope: string;
  /** Separator of scopes in the response, besides a space; null: the separator of requests. */
  readonly scopeSeparator: string | null;
  /** Values of `token_type` that mean bearer (Slack: `bot`, `user`). */
  readonly tokenTypes: readonly string[];
}

/** Deviations of revocation from RFC 7009. */
export interface RevocationDialect {
  readonly method: 'POST' | 'DELETE' | 'GET';
  /** URL other than the revocation endpoint, with `{client_id}` as a placeholder; null: that endpoint. */
  readonly url: string | null;
  readonly body: 'form' | 'json' | 'none';
  /** Name of the token parameter in the body, or for GET in the query. */
  readonly tokenParameter: string;
  /** `client`: as at the token endpoint. `bearer`: the access token itself. */
  readonly auth: 'client' | 'basic' | 'bearer' | 'none';
  /** Token whose revocation ends the whole grant. */
  readonly token: 'refresh_token' | 'access_token';
  /** True if the revocation of an access token also ends the refresh token (RFC 7009 §2.1). */
  readonly endsGrant: boolean;
  readonly okField: string | null;
}

/** Signs of a token without a required scope, besides RFC 6750 §3.1. */
export interface InsufficientScopeDialect {
  /** `all`: every scope in the `scope` of a challenge is required. `any`: one is enough (Google). */
  readonly challenge: 'all' | 'any';
  /** Field that lists the scopes of the token (GitHub: `X-OAuth-Scopes`); null: none. */
  readonly grantedScopesHeader: string | null;
  /** Field that lists scopes of which one is required (GitHub: `X-Accepted-OAuth-Scopes`); null: none. */
  readonly acceptedScopesHeader: string | null;
  /** Fields and values of refusals for another cause, whatever the two fields above contain. */
  readonly unlessHeaders: Readonly<Record<string, string>>;
}
