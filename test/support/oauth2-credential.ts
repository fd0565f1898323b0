import type { OAuth2Credential } from '../../src/domain/credential.ts';

/** An OAuth credential without a token and an expiry, with the given fields. */
export function oauth2Credential(fields: Partial<OAuth2Credential> = {}): OAuth2Credential {
  return {
    type: 'oauth2',
    accessToken: null,
    refreshToken: null,
    expiresAt: null,
    obtainedAt: Date.now(),
    scope: null,
    clientId: null,
    clientSecret: null,
    tokenEndpoint: null,
    ...fields,
  };
}
