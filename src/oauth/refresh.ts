import * as oauth from 'oauth4webapi';
import { askTokenEndpoint, type TokenClient, type TokenIo } from './token-endpoint.ts';

/** One refresh (RFC 6749 §6). */
export interface RefreshRequest {
  /** An https URL. */
  readonly endpoint: string;
  readonly client: TokenClient;
  readonly refreshToken: string;
  /** RFC 6749 §6: left out, the scope stays as it was granted. */
  readonly scope?: string | undefined;
}

/** What came of a refresh. Descriptions are cut, without control characters, and without any piece of a secret. */
export type RefreshOutcome =
  | {
      readonly kind: 'refreshed';
      readonly accessToken: string;
      /** The new one, where the provider rotates them; null: keep the old one. */
      readonly refreshToken: string | null;
      /** Milliseconds since the epoch; null: the provider did not say. */
      readonly expiresAt: number | null;
      /** When it was asked for, in milliseconds since the epoch. */
      readonly obtainedAt: number;
      /** Null: unchanged. */
      readonly scope: string | null;
    }
  /** The refresh token is of no use any more: only a new consent helps. */
  | { readonly kind: 'invalid_grant'; readonly description: string }
  /** Refused for another reason, which stays until the configuration changes. */
  | { readonly kind: 'refused'; readonly error: string; readonly description: string }
  /** The provider or the network failed; `retryAfterMs` is what the provider asked for (RFC 9110 §10.2.3). */
  | { readonly kind: 'transient'; readonly reason: string; readonly retryAfterMs: number | null };

/**
 * Codes that mean what RFC 6749 §5.2 calls `invalid_grant`: GitHub's own, and those of OpenID Connect Core §3.1.2.6,
 * which some providers send from the token endpoint when the user has to be asked again.
 */
const consentGone = new Set([
  'invalid_grant',
  'bad_refresh_token',
  'interaction_required',
  'login_required',
  'consent_required',
]);

/** Refreshes a token (RFC 6749 §6). Never rejects for what a provider or a network may do. */
export async function refreshToken(request: RefreshRequest, io: TokenIo): Promise<RefreshOutcome> {
  const answer = await askTokenEndpoint(
    {
      endpoint: request.endpoint,
      client: request.client,
      secrets: [request.refreshToken],
      send: (as, client, auth, options) =>
        oauth.refreshTokenGrantRequest(as, client, auth, request.refreshToken, {
          ...options,
          ...(request.scope === undefined ? {} : { additionalParameters: { scope: request.scope } }),
        }),
      process: (as, client, response) => oauth.processRefreshTokenResponse(as, client, response),
    },
    io,
  );
  switch (answer.kind) {
    case 'tokens':
      return { ...answer, kind: 'refreshed' };
    case 'error':
      return consentGone.has(answer.error)
        ? { kind: 'invalid_grant', description: answer.description }
        : { kind: 'refused', error: answer.error, description: answer.description };
    case 'transient':
      return answer;
  }
}
