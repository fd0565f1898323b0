/**
 * What is stored, sealed, for a grant. Only `vault`, `grants`, `oauth` and `inject` ever hold one of these.
 */

/** RFC 6749 §5.1, plus what a refresh needs where the provider definition does not say it. */
export interface OAuth2Credential {
  readonly type: 'oauth2';
  /** Null until the first refresh: a refresh token alone is enough to start with. */
  readonly accessToken: string | null;
  readonly refreshToken: string | null;
  /** When `accessToken` ends, in milliseconds since the epoch; null: the provider did not say. */
  readonly expiresAt: number | null;
  /** When `accessToken` was obtained, in milliseconds since the epoch: its lifetime bounds the skew. */
  readonly obtainedAt: number;
  readonly scope: string | null;
  /** These three override the provider definition's. */
  readonly clientId: string | null;
  readonly clientSecret: string | null;
  readonly tokenEndpoint: string | null;
}

/** A key that does not end by itself. */
export interface ApiKeyCredential {
  readonly type: 'api_key';
  readonly value: string;
}

/** A JSON Web Token (RFC 7519) that was handed over as it is, and that nothing here can renew. */
export interface JwtCredential {
  readonly type: 'jwt';
  readonly value: string;
  /** The token's own `exp`, in milliseconds since the epoch; null where it has none. */
  readonly expiresAt: number | null;
}

/** RFC 7617. */
export interface BasicCredential {
  readonly type: 'basic';
  readonly username: string;
  readonly password: string;
}

/** Fields of a request, as they are. */
export interface HeadersCredential {
  readonly type: 'headers';
  /** Field name and value, in the order they are sent. */
  readonly headers: readonly (readonly [name: string, value: string])[];
}

/** One of the credentials that can be stored. */
export type Credential =
  OAuth2Credential | ApiKeyCredential | JwtCredential | BasicCredential | HeadersCredential;

/**
 * What of a credential an upstream sees, as one text: the same for the same credential, another for another. It is the
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
  }
}

/**
 * What the seal holds: the credential and the authorities it may ever be sent to. The audience is inside, so
 * that whoever can write to the store, or to the config file, still cannot send the credential elsewhere.
 */
export interface SealedCredential {
  readonly credential: Credential;
  /** Domain patterns (`host`, `host:port`, `*.suffix`), see `policy/pattern.ts`. */
  readonly audience: readonly string[];
}
