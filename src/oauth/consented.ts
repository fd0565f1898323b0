import type { OAuth2Credential } from '../grants/credential.ts';
import type { Tokens } from './answer.ts';
import { withOfflineAccess } from './scopes.ts';

/** What a person's consent brought. */
export interface Consented {
  /** Without a client and an endpoint of its own: those of the provider's definition are meant. */
  readonly credential: OAuth2Credential;
  /** As they were granted; they may be fewer than were asked for, see `ungrantedScopes`. */
  readonly scopes: readonly string[];
  /** Which account it is, as the provider's dialect says. */
  readonly details: Readonly<Record<string, string>>;
}

/** @param asked the scopes that were asked for: those granted, where the provider does not say (RFC 6749 §5.1) */
export function consented(tokens: Tokens, asked: readonly string[]): Consented {
  const { accessToken, refreshToken, expiresAt, obtainedAt, scope, details } = tokens;
  const granted = tokens.scopes ?? asked;
  return {
    credential: {
      type: 'oauth2',
      accessToken,
      refreshToken,
      expiresAt,
      obtainedAt,
      scope,
      clientId: null,
      clientSecret: null,
      tokenEndpoint: null,
    },
    scopes: refreshToken === null ? granted : withOfflineAccess(granted, asked),
    details,
  };
}
