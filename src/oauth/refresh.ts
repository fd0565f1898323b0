import type { Dialect } from '../domain/provider.ts';
import type { TokenAnswer } from './answer.ts';
import type { TokenIo } from './http.ts';
import { joinScopes, withOfflineAccess } from './scopes.ts';
import { askTokenEndpoint, type TokenClient } from './token-endpoint.ts';

/** One refresh (RFC 6749 §6). */
export interface RefreshRequest {
  /** An https URL. */
  readonly endpoint: string;
  /** Null: none is named. */
  readonly client: TokenClient | null;
  readonly dialect: Dialect;
  readonly refreshToken: string;
  /** The granted scopes. They are named only where the provider wants it: left out, they stay (RFC 6749 §6). */
  readonly scopes: readonly string[];
}

/** The outcome of a refresh. Descriptions are cut, without control characters, and without any piece of a secret. */
export type RefreshOutcome =
  | {
      readonly kind: 'refreshed';
      readonly accessToken: string;
      /** The new one, where the provider rotates them; null: keep the old one. */
      readonly refreshToken: string | null;
      /** Milliseconds since the epoch; null: the provider did not say. */
      readonly expiresAt: number | null;
      /** The time at which it was asked for, in milliseconds since the epoch. */
      readonly obtainedAt: number;
      /** Null: unchanged. */
      readonly scope: string | null;
      /** The access token is bound to the key that was proved; absent: to none. */
      readonly isBound?: true;
    }
  /** The refresh token is no longer valid: only a new consent helps. */
  | { readonly kind: 'invalid_grant'; readonly description: string }
  /** Refused for another reason, which stays until the configuration changes. */
  | { readonly kind: 'refused'; readonly error: string; readonly description: string }
  /** The provider or the network failed; `retryAfterMs` is what the provider asked for (RFC 9110 §10.2.3). */
  | { readonly kind: 'transient'; readonly reason: string; readonly retryAfterMs: number | null };

/**
 * Codes that mean what RFC 6749 §5.2 calls `invalid_grant`: GitHub's and HubSpot's own, Slack's own, and those of OpenID
 * Connect Core §3.1.2.6, which some providers send from the token endpoint when the user has to be asked again.
 */
const consentGone = new Set([
  'invalid_grant',
  'bad_refresh_token',
  'invalid_refresh_token',
  'interaction_required',
  'login_required',
  'consent_required',
]);

/** Refreshes a token (RFC 6749 §6). Never rejects for what a provider or a network may do. */
export async function refreshToken(request: RefreshRequest, io: TokenIo): Promise<RefreshOutcome> {
  const { endpoint, client, dialect, refreshToken: token, scopes } = request;
  const named = dialect.sendScopeOnRefresh && scopes.length > 0;
  const answer = await askTokenEndpoint(
    {
      endpoint,
      client,
      dialect,
      grantType: 'refresh_token',
      parameters: {
        refresh_token: token,
        ...(named ? { [dialect.scopeParameter]: joinScopes(scopes, dialect) } : {}),
      },
      secrets: [token],
    },
    io,
  );
  const outcome = refreshOutcome(answer);
  return outcome.kind !== 'refreshed' || answer.kind !== 'tokens' || answer.scopes === null
    ? outcome
    : { ...outcome, scope: withOfflineAccess(answer.scopes, scopes).join(' ') };
}

/** Returns the outcome that a token response means for a renewal of any kind. */
export function refreshOutcome(answer: TokenAnswer): RefreshOutcome {
  switch (answer.kind) {
    case 'tokens': {
      const { accessToken, refreshToken: next, expiresAt, obtainedAt, scope, isBound } = answer;
      const bound = isBound === undefined ? {} : { isBound };
      return { kind: 'refreshed', accessToken, refreshToken: next, expiresAt, obtainedAt, scope, ...bound };
    }
    case 'error': {
      const { error, description } = answer;
      if (consentGone.has(error.toLowerCase())) return { kind: 'invalid_grant', description };
      // RFC 8628 has it for device codes; some send it for any haste.
      if (error === 'slow_down') {
        return { kind: 'transient', reason: 'the token endpoint answered slow_down', retryAfterMs: null };
      }
      return { kind: 'refused', error, description };
    }
    case 'transient':
      return answer;
  }
}
