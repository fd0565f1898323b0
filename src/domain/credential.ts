/**
 * The sealed content of a grant. Only `vault`, `grants`, `oauth` and `schemes` hold it in the clear.
 */

/** RFC 6749 §5.1, plus what a refresh needs where the provider definition does not say it. */
export interface OAuth2Credential {
  readonly type: 'oauth2';
  /** Null until the first refresh: a refresh token alone is enough to start with. */
  readonly accessToken: string | null;
  readonly refreshToken: string | null;
  /** The time at which `accessToken` ends, in milliseconds since the epoch; null: the provider did not say. */
  readonly expiresAt: number | null;
  /** The time at which `accessToken` was obtained, in milliseconds since the epoch: its lifetime bounds the skew. */
  readonly obtainedAt: number;
  readonly scope: string | null;
  /** True if a person took scopes away: a refresh names those that are left, or it would bring them all (RFC 6749 §6). */
  readonly isNarrowed?: boolean;
  /** The client and the endpoint; each overrides the provider definition. */
  readonly clientId: string | null;
  readonly clientSecret: string | null;
  readonly tokenEndpoint: string | null;
  /** The time at which a person last consented, in milliseconds since the epoch; absent: not known. */
  readonly consentedAt?: number;
  /** The flow of `connect` that obtained it; absent: none did. */
  readonly flow?: string;
  /** The way to a new access token without a refresh token. */
  readonly renewal?: Renewal;
  /** The key that its tokens are bound to (RFC 9449); absent: to none. */
  readonly dpop?: DpopBinding;
}

/** The algorithm of proofs (RFC 7518 §3.4, RFC 8037 §3.1). */
export type DpopAlgorithm = 'ES256' | 'EdDSA';

/** A private key that was made here and never leaves, as the members of a JWK. */
export interface DpopKey {
  readonly crv: 'P-256' | 'Ed25519';
  readonly x: string;
  /** Only for P-256. */
  readonly y?: string;
  /** Secret. */
  readonly d: string;
}

interface DpopBinding {
  readonly key: DpopKey;
  /**
   * True if the access token is bound to it, as its `token_type` said. A refresh token may be in any case, so the key
   * stays (RFC 9449 §5).
   */
  readonly isBound: boolean;
}

/** The credential after an answer to who proved a key. `key` null: none was proved. */
export function boundBy(
  credential: OAuth2Credential,
  key: DpopKey | null,
  isBound: boolean,
): OAuth2Credential {
  return key === null ? credential : { ...credential, dpop: { key, isBound } };
}

/** A credential that has no token yet, only what gets one. `now` in milliseconds since the epoch. */
export function withoutToken(renewal: Renewal, now: number): OAuth2Credential {
  return {
    type: 'oauth2',
    accessToken: null,
    refreshToken: null,
    expiresAt: null,
    obtainedAt: now,
    scope: null,
    clientId: null,
    clientSecret: null,
    tokenEndpoint: null,
    renewal,
  };
}

/** A private key, and how it signs (RFC 7518 §3.1). */
export interface SigningKey {
  /** PEM (PKCS#8, PKCS#1 or SEC 1) or a JWK as JSON. */
  readonly privateKey: string;
  /** `kid`; null: none is named. */
  readonly keyId: string | null;
  /** `RS256`, `ES256`, `PS256`, `EdDSA` … */
  readonly algorithm: string;
}

/**
 * The way to a new access token without a refresh token, each time. Parameters are copied into the token request as they
 * are (`audience`, `resource` …).
 */
export type Renewal =
  /** RFC 6749 §4.4. */
  | {
      readonly kind: 'client_credentials';
      readonly scope: string | null;
      readonly parameters: Readonly<Record<string, string>>;
    }
  /** RFC 7523 §2.1: an assertion that is signed anew each time. */
  | {
      readonly kind: 'jwt_bearer';
      readonly key: SigningKey;
      readonly issuer: string;
      /** Null: the issuer. */
      readonly subject: string | null;
      /** Null: the token endpoint. */
      readonly audience: string | null;
      readonly scope: string | null;
      readonly parameters: Readonly<Record<string, string>>;
    }
  /** RFC 8693 §2.1. */
  | {
      readonly kind: 'token_exchange';
      /** The token itself, or where it is read each time (`file:`, `env:`, `command:`). */
      readonly subjectToken: { readonly value: string } | { readonly reference: string };
      readonly subjectTokenType: string;
      readonly actorToken: { readonly value: string } | { readonly reference: string } | null;
      readonly actorTokenType: string | null;
      readonly requestedTokenType: string | null;
      readonly scope: string | null;
      readonly parameters: Readonly<Record<string, string>>;
    }
  /** Auth0 Token Vault: the tokens of a connected account, by the refresh token of a login at Auth0. */
  | {
      readonly kind: 'auth0_connection';
      /** Id of the grant that is the login. */
      readonly via: string;
      readonly connection: string;
      readonly loginHint: string | null;
    }
  /** An installation of a GitHub App: a JWT of the app gets a token of an hour. */
  | {
      readonly kind: 'github_installation';
      readonly key: SigningKey;
      readonly appId: string;
      readonly installationId: string;
    }
  /** AWS STS AssumeRole: keys for a while, by other keys. The access token is the keys as `keysText` writes them. */
  | {
      readonly kind: 'aws_role';
      readonly keys: AwsKeys;
      readonly roleArn: string;
      /** The name of the caller in the trail of AWS. */
      readonly sessionName: string;
      /** Null: none is wanted. */
      readonly externalId: string | null;
      /** The life of the keys; null: the default of AWS, an hour. */
      readonly durationSeconds: number | null;
      /** The region of STS, and the only one that the keys are used for; null: us-east-1, and any. */
      readonly region: string | null;
    };

/** A key that does not end by itself. */
interface ApiKeyCredential {
  readonly type: 'api_key';
  readonly value: string;
}

/** A JSON Web Token (RFC 7519) that was handed over as it is, and that nothing here can renew. */
interface JwtCredential {
  readonly type: 'jwt';
  readonly value: string;
  /** The token's own `exp`, in milliseconds since the epoch; null where it has none. */
  readonly expiresAt: number | null;
}

/** RFC 7617. */
interface BasicCredential {
  readonly type: 'basic';
  readonly username: string;
  readonly password: string;
}

/** Fields of a request, as they are. */
interface HeadersCredential {
  readonly type: 'headers';
  /** Field name and value, in the order they are sent. */
  readonly headers: readonly (readonly [name: string, value: string])[];
}

/** Keys that sign requests to AWS, and to what speaks as it does. */
interface AwsCredential extends AwsKeys {
  readonly type: 'aws';
  /** The one region that they are used for; null: any. */
  readonly region: string | null;
}

/**
 * A certificate that says who we are in the TLS handshake with an upstream (RFC 8446 §4.4.2), and its key, which is
 * never sent.
 */
export interface ClientCertificateCredential {
  readonly type: 'client_certificate';
  /** PEM: the certificate itself, then those of its issuers, each in front of its own issuer's. Not secret. */
  readonly certificate: string;
  /** PEM (PKCS #8), without a passphrase. */
  readonly privateKey: string;
  /** The time at which the certificate ends, in milliseconds since the epoch. */
  readonly expiresAt: number;
}

/** The forms of a source's answer. */
export const sourceForms = ['token', 'first_line', 'json', 'aws', 'exec', 'docker', 'git'] as const;
/** One of `sourceForms`. */
export type SourceForm = (typeof sourceForms)[number];

/**
 * The place that a credential is asked from when a request needs it. It is sealed, so that nobody who writes to the
 * store can have a program run.
 */
export interface SourceCredential {
  readonly type: 'source';
  /** As the operator wrote it: `gh`, `op://vault/item/field`, `command:…`, `file:/path`. Empty: it was erased. */
  readonly from: string;
  /** Null: the form is recognized from the answer. */
  readonly form: SourceForm | null;
  /** The time for which a value is kept, in milliseconds; null: until the end that it states, else the default. */
  readonly ttlMs: number | null;
}

/** A credential itself, and not the place that it is asked from. */
export type HeldCredential = Exclude<Credential, SourceCredential>;

/** One of the credentials that can be stored. */
export type Credential =
  | OAuth2Credential
  | ApiKeyCredential
  | JwtCredential
  | BasicCredential
  | HeadersCredential
  | AwsCredential
  | ClientCertificateCredential
  | SourceCredential;

/**
 * Returns the part of a credential that an upstream sees, as one text that differs for every credential. It is the
 * secret itself. (A user name has no colon, so the two parts of Basic cannot be confused.)
 */
export function secretText(credential: Credential): string {
  switch (credential.type) {
    case 'oauth2':
      return credential.accessToken ?? '';
    case 'api_key':
    case 'jwt':
      return credential.value;
    case 'basic':
      return `${credential.username}:${credential.password}`;
    case 'headers':
      return JSON.stringify(credential.headers);
    case 'aws':
      return keysText(credential);
    case 'client_certificate':
      return `${credential.certificate}${credential.privateKey}`;
    case 'source':
      return '';
  }
}

/**
 * The content of the seal: the credential and the authorities it may ever be sent to. The audience is sealed too: write
 * access to the store or to the config file is not enough to send the credential elsewhere.
 */
export interface SealedCredential {
  readonly credential: Credential;
  /** Domain patterns (`host`, `host:port`, `*.suffix`), see `policy/domain-map.ts`. */
  readonly audience: readonly string[];
  /** The account, in the provider's own words (a realm id, a workspace). Not secret. */
  readonly details?: Readonly<Record<string, string>>;
  readonly metadata?: Metadata | undefined;
}

/** Values of the user by key, for people and scripts. */
export type Metadata = Readonly<Record<string, string>>;

/** Names of details, in the order in which they name an account for people. */
const accountNames = ['email', 'name', 'preferred_username', 'login', 'username'];

/** Returns the name of an account for people: its e-mail address, else its name; null: nothing names it. */
export function accountOf(details: SealedCredential['details'] = {}): string | null {
  const found = Object.entries(details);
  const named = accountNames.flatMap((name) => found.filter(([path]) => path.split('.').at(-1) === name));
  return [...named, ...found][0]?.[1] ?? null;
}

/** The clock of a token: fresh, due for a refresh, or ended. Pure; times in milliseconds since the epoch. */

/**
 * - `fresh`: use it.
 * - `due`: still valid, but about to end: use it and have it refreshed meanwhile.
 * - `ended`: of no use any more.
 * - `absent`: there is no token yet, only what gets one.
 */
export type TokenClock = 'fresh' | 'due' | 'ended' | 'absent';

/**
 * Returns the state of a credential at `now`. A token that says no end is fresh until an upstream refuses it.
 *
 * The skew is at most a fifth of the token's lifetime, so that a token of 60 s is refreshed once in 48 s and not, with
 * a skew of 60 s or more, for every request. A credential without a refresh is never due.
 */
export function clockOf(credential: Credential, now: number, skewMs: number): TokenClock {
  switch (credential.type) {
    case 'oauth2': {
      if (credential.accessToken === null) return 'absent';
      if (credential.expiresAt === null) return 'fresh';
      if (now >= credential.expiresAt) return 'ended';
      return now >= (dueAt(credential, skewMs) ?? Infinity) ? 'due' : 'fresh';
    }
    case 'jwt':
    case 'client_certificate':
      return credential.expiresAt !== null && now >= credential.expiresAt ? 'ended' : 'fresh';
    case 'api_key':
    case 'basic':
    case 'headers':
    case 'aws':
      return 'fresh';
    case 'source':
      return 'absent';
  }
}

/** From when on the stored token is due; null: never, for it says no end or cannot be refreshed. */
export function dueAt(credential: Credential, skewMs: number): number | null {
  if (credential.type !== 'oauth2' || credential.accessToken === null || credential.expiresAt === null)
    return null;
  if (!isRefreshable(credential)) return null;
  const lifetime = Math.max(0, credential.expiresAt - credential.obtainedAt);
  return credential.expiresAt - Math.max(0, Math.min(skewMs, lifetime / 5));
}

/** Returns when the stored token ends; null: it says no end, or there is none. */
export function endOf(credential: Credential): number | null {
  return 'expiresAt' in credential ? credential.expiresAt : null;
}

/** Returns whether the credential can get a new token: by a refresh token, or another way. */
export function isRefreshable(credential: Credential): boolean {
  if (credential.type === 'source') return true;
  return (
    credential.type === 'oauth2' && (credential.refreshToken !== null || credential.renewal !== undefined)
  );
}

/** The keys that sign requests to AWS. Only the id and the session token are sent. */
export interface AwsKeys {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** The token that temporary keys need; null: the keys are a user's own. */
  readonly sessionToken: string | null;
}

/** Temporary keys as one text, as an access token is kept. None of the three can hold a colon. */
export function keysText({ accessKeyId, secretAccessKey, sessionToken }: AwsKeys): string {
  return `${accessKeyId}:${secretAccessKey}:${sessionToken ?? ''}`;
}

/** Letters, digits, `_`; 16 to 128 of them (AWS's own words for it). */
export function isAccessKeyId(text: string): boolean {
  return /^\w{16,128}$/.test(text);
}

/** Base64, and the few characters that S3-compatible services add to it. */
export function isAwsSecret(text: string): boolean {
  return /^[A-Za-z0-9+/=_.~-]+$/.test(text);
}

/** The keys in a text; null where it has none. */
function parseKeys(text: string): AwsKeys | null {
  const [accessKeyId = '', secretAccessKey = '', sessionToken = '', ...more] = text.split(':');
  if (accessKeyId === '' || secretAccessKey === '' || more.length > 0) return null;
  return { accessKeyId, secretAccessKey, sessionToken: sessionToken === '' ? null : sessionToken };
}

/** The keys of a credential: its own, or the temporary ones of a role; null: it has none. */
export function awsKeysOf(credential: Credential): AwsKeys | null {
  if (credential.type === 'aws') return credential;
  if (credential.type !== 'oauth2' || credential.renewal?.kind !== 'aws_role') return null;
  return credential.accessToken === null ? null : parseKeys(credential.accessToken);
}
