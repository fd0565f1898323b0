import type { DpopAlgorithm } from './credential.ts';

/**
 * A provider definition: where consent and tokens come from, where its credential may go, how it is carried.
 * Built-in ones are files in `config/providers/`; the config file's `providers` add to them or replace them.
 */
export interface Provider {
  readonly name: string;
  /** For people. */
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
  /** OpenID Connect Core §5.3; null: none is known. */
  readonly userinfoEndpoint: string | null;
  /** RFC 8414 `issuer`, checked in the authorization response (RFC 9207) where it is known. */
  readonly issuer: string | null;
  /** True if every authorization response names the issuer, so that one without it is refused (RFC 9207 §2.4). */
  readonly namesIssuer: boolean;
  readonly clientId: string | null;
  /** Read from its reference when it is needed, or to see whether it could be (`isTrial`); null: a public client. */
  readonly clientSecret: ((isTrial?: boolean) => Promise<string>) | null;
  readonly clientAuth: ClientAuth;
  /** The one that the client is registered with; null: any port of the loopback address will do (RFC 8252 §7.3). */
  readonly redirectUri: string | null;
  /**
   * The redirect URIs that the provider accepts: `loopback`, any port of 127.0.0.1; `localhost`, one that is
   * registered with
   * its port; `https`, none of this machine: the person pastes where the browser went.
   */
  readonly redirectUriType: 'loopback' | 'localhost' | 'https';
  /** Its tokens are bound to a key that stays here, which signs like this (RFC 9449); null: they are bound to none. */
  readonly dpop: DpopAlgorithm | null;
  /** The ways to a token that it offers, the usual one first; none: only tokens that are pasted. */
  readonly flows: readonly Flow[];
  /** Asked for where a person names none. */
  readonly scopes: readonly string[];
  readonly knownScopes: readonly { readonly name: string; readonly what: string }[];
  /** Domain patterns that a credential of this provider may be sent to. */
  readonly audience: readonly string[];
  /** The hosts that `connect` offers for the domain map. */
  readonly domains: readonly string[];
  /**
   * The placements of its credential. The first one whose hosts and paths match the request applies; without a match
   * the credential is not sent.
   */
  readonly inject: readonly InjectPlace[];
  /** The parts of a request where a placeholder becomes the credential, besides the fields that `inject` sets. */
  readonly placeholders: readonly PlaceholderPlace[];
  /** Parameters of a query or a form that the service takes for the method, besides those that rules know. */
  readonly methodOverrideParameters: readonly string[];
  /**
   * The action for a request whose body has a placeholder that is not replaced there. `pass` forwards it and records
   * it; for services that are told whole conversations, where a program once printed its environment.
   */
  readonly unexpectedPlaceholders: 'refuse' | 'pass';
  /** Beginnings of paths where the service shows the request that it was sent, credential and all. */
  readonly echoPaths: readonly string[];
  /** Keys and personal tokens that are pasted; null: there are none. */
  readonly token: PastedToken | null;
  readonly dialect: Dialect;
  /** The steps to register a client; null: not known. */
  readonly clientRegistration: { readonly url: string; readonly steps: readonly string[] } | null;
  readonly probe: Probe | null;
  readonly notes: readonly string[];
  /** Programs that log in at it by themselves; none: no login is known. */
  readonly logins: readonly LoginClient[];
  /** True if the logins of these programs become grants, and the programs get placeholders. */
  readonly capturesLogins: boolean;
  /** Variables in which programs look for a credential of it. */
  readonly environment: readonly CredentialVariable[];
  /** Variables in which programs look for the base address of its API, with the address of the service. */
  readonly baseUrls: Readonly<Record<string, string>>;
  /** Requests in words; the first that matches counts. */
  readonly operations: readonly Operation[];
  /** The duration of leases of its grants, in milliseconds; null: as the config says. */
  readonly lease: { readonly defaultMs: number | null; readonly maxMs: number | null };
  /** The settings that each customer chooses, with their values; null: required, and not set. */
  readonly settings: readonly Setting[];
}

/**
 * The client authentication at the token endpoint (RFC 6749 §2.3.1; RFC 7523 §2.2, where the client secret is the
 * private key).
 */
export type ClientAuth = 'basic' | 'post' | 'none' | 'private_key_jwt';

/** A request in words. */
interface Operation {
  readonly method: string;
  /** Absent: any host of the provider. */
  readonly host?: string | undefined;
  /** Glob of its path. */
  readonly path: string;
  /** The end of a sentence: `send mail`. */
  readonly words: string;
}

/** A way to a token. */
export type Flow =
  | 'authorization_code'
  | 'device_code'
  | 'client_credentials'
  | 'jwt_bearer'
  | 'token_exchange'
  | 'auth0_connection'
  | 'github_installation'
  | 'aws_role';

/** A part of URLs and hosts that is each customer's own. While one without a value is there, endpoints are null. */
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

/** A program that logs in by itself, as a client of the token endpoint (RFC 6749 §2). */
export interface LoginClient {
  /** For people. */
  readonly program: string;
  readonly clientId: string;
  /** Templates of its placeholders, of the form of the tokens; null: the form does not matter, or is that of a JWT. */
  readonly accessToken: string | null;
  readonly refreshToken: string | null;
  /** Members of the answer that it reads besides those of RFC 6749 §5.1. They are passed on, and are no secrets. */
  readonly answerFields: readonly string[];
}

/** A variable that programs of a provider read their credential from. */
interface CredentialVariable {
  readonly name: string;
  /** The value that clients find instead of a credential; it opens nothing. Null: no value. */
  readonly placeholder: string | null;
}

/** One value that is pasted. */
export interface TokenPart {
  readonly name: string;
  readonly label: string;
  readonly secret: boolean;
  readonly prefixes: readonly {
    readonly prefix: string;
    readonly label: string;
    /** Such a value is of a kind that is not meant. */
    readonly wrongKind: boolean;
  }[];
}

/**
 * `inject`: the one part, as the provider's `inject` says. `aws`: the parts `access_key_id` and `secret_access_key`
 * sign. In the others `{name}` is a placeholder for a part.
 */
export type TokenInjection =
  | { readonly kind: 'aws' }
  | { readonly kind: 'inject' }
  | { readonly kind: 'basic'; readonly username: string; readonly password: string }
  | { readonly kind: 'headers'; readonly headers: readonly (readonly [name: string, value: string])[] };

/** A harmless request that shows whether a credential works: a GET, or a POST where there is JSON to send. */
export interface Probe {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly json: Readonly<Record<string, unknown>> | null;
  /** A member of the JSON answer that must be true; null: the status alone says it. */
  readonly okField: string | null;
  /** Members of the JSON answer that name the account. */
  readonly accountFields: readonly string[];
}

/**
 * The place of a credential in requests: the kind of an `AuthScheme` (`schemes/`), and that scheme's own settings, which
 * no other code reads.
 */
export type Placement = { readonly kind: string; readonly [setting: string]: unknown };

/** A part of a request in which clients may put a placeholder; `header`: any field, and the pair of `Basic`. */
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
 * The differences of a provider's OAuth from the RFCs: data that the flows read, so that no flow knows a provider by name.
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
  /** True if a refresh names the granted scopes. */
  readonly sendScopeOnRefresh: boolean;
  /** The endpoint for refreshes; null: the token endpoint (Figma has another). */
  readonly refreshEndpoint: string | null;
  readonly tokenResponse: TokenResponseDialect;
  /** Parameters of the redirect that say which account it is (QuickBooks: `realmId`); kept with the grant. */
  readonly accountParameters: readonly string[];
  /** Members of the token answer that say which account it is; kept with the grant. Never a secret. */
  readonly accountFields: readonly string[];
  /** A refresh token that is not used for this long is dead; null: not known. In milliseconds. */
  readonly refreshTokenIdleTimeoutMs: number | null;
  /** However often it is used, a new consent is needed after this long; null: not known. In milliseconds. */
  readonly refreshTokenLifetimeMs: number | null;
  readonly revocation: RevocationDialect;
  readonly insufficientScope: InsufficientScopeDialect;
}

/** The names of members in the response of a token endpoint. */
export interface TokenResponseDialect {
  /** The path to the object with the tokens; null, or nothing at that path: the top level. */
  readonly root: string | null;
  /** A member that is false in an error answer of any status (Slack: `ok`). */
  readonly okField: string | null;
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

/** The differences of revocation from RFC 7009. */
export interface RevocationDialect {
  readonly method: 'POST' | 'DELETE' | 'GET';
  /** The URL, if it is not the revocation endpoint; `{client_id}` in it is replaced by the client id. */
  readonly url: string | null;
  readonly body: 'form' | 'json' | 'none';
  /** The name that the token has in the body, or for GET in the query. */
  readonly tokenParameter: string;
  /** `client`: as at the token endpoint. `bearer`: with the access token itself. */
  readonly auth: 'client' | 'basic' | 'bearer' | 'none';
  /** The token that ends the whole grant. */
  readonly token: 'refresh_token' | 'access_token';
  readonly okField: string | null;
}

/** The ways in which an API says that a token lacks a scope, besides RFC 6750 §3.1. */
export interface InsufficientScopeDialect {
  /** `all`: the `scope` of a challenge lists scopes that are all needed. `any`: each of them would do (Google). */
  readonly challenge: 'all' | 'any';
  /** The field that lists the scopes of the token (GitHub: `X-OAuth-Scopes`); null: there is none. */
  readonly grantedScopesHeader: string | null;
  /** The field that lists scopes of which one is needed (GitHub: `X-Accepted-OAuth-Scopes`); null: there is none. */
  readonly acceptedScopesHeader: string | null;
  /** Fields and values that show another cause of the refusal, with precedence over those two. */
  readonly unlessHeaders: Readonly<Record<string, string>>;
}
