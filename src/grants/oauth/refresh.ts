import type { Dialect } from '../../domain/provider.ts';
import type { TokenAnswer } from './answer.ts';
import type { TokenIo } from './http.ts';
import { joinScopes, withOfflineAccess } from './scopes.ts';
import { askTokenEndpoint, type TokenClient } from './token-endpoint.ts';

/** A refresh request (RFC 6749 §6). */
export interface RefreshRequest {
  /** An https URL. */
  readonly endpoint: string;
  /** Null: no client is named. */
  readonly client: TokenClient | null;
  readonly dialect: Dialect;
  readonly refreshToken: string;
  /** Granted scopes, sent only if the provider requires it. Otherwise they persist (RFC 6749 §6). */
  readonly scopes: readonly string[];
}

/** Outcome of a refresh. Descriptions are truncated, printable, and contain no piece of a secret. */
export type RefreshOutcome =
  | {
      readonly kind: 'renewed';
      readonly accessToken: string;
      /** New refresh token, if the provider rotates them; null: the old one stays valid. */
      readonly refreshToken: string | null;
      /** Milliseconds since the epoch; null: not stated by the provider. */
      readonly expiresAt: number | null;
      /** Time of the request, in milliseconds since the epoch. */
      readonly obtainedAt: number;
      /** Scopes of the token; null: unchanged. */
      readonly scope: string | null;
      /** True if the access token is bound to the DPoP key. */
      readonly isBound?: true;
    }
  /** A person must consent again: to the grant, or to the login that it depends on. */
  | { readonly kind: 'refused'; readonly ends: 'grant' | 'login'; readonly description: string }
  /** Permanent until the configuration changes. */
  | {
      readonly kind: 'refused';
      readonly ends?: undefined;
      readonly error: string;
      readonly description: string;
      /** Address that the endpoint has moved to. */
      readonly movedTo?: string;
    }
  /** Temporary. `retryAfterMs`: from `Retry-After` (RFC 9110 §10.2.3). */
  | { readonly kind: 'later'; readonly reason: string; readonly retryAfterMs: number | null };

/**
 * Codes that mean `invalid_grant` (RFC 6749 §5.2): those of GitHub and HubSpot, of Slack, and of OpenID
 * Connect Core §3.1.2.6, which some token endpoints send if the user must consent again.
 */
const consentGone = new Set([
  'invalid_grant',
  'bad_refresh_token',
  'invalid_refresh_token',
  'interaction_required',
  'login_required',
  'consent_required',
]);

/** Refreshes a token (RFC 6749 §6). Never rejects because of a provider or the network. */
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
  return outcome.kind !== 'renewed' || answer.kind !== 'tokens' || answer.scopes === null
    ? outcome
    : { ...outcome, scope: withOfflineAccess(answer.scopes, scopes).join(' ') };
}

/** Returns the outcome of a renewal of any kind. */
export function refreshOutcome(answer: TokenAnswer): RefreshOutcome {
  switch (answer.kind) {
    case 'tokens': {
      const { accessToken, refreshToken: next, expiresAt, obtainedAt, scope, isBound } = answer;
      const bound = isBound === undefined ? {} : { isBound };
      return { kind: 'renewed', accessToken, refreshToken: next, expiresAt, obtainedAt, scope, ...bound };
    }
    case 'error': {
      const { error, description, movedTo } = answer;
      if (consentGone.has(error.toLowerCase())) return { kind: 'refused', ends: 'grant', description };
      // RFC 8628 defines `slow_down` for device codes; some servers send it for any rate limit.
      if (error === 'slow_down')
        return { kind: 'later', reason: 'the token endpoint answered slow_down', retryAfterMs: null };
      return { kind: 'refused', error, description, ...(movedTo === undefined ? {} : { movedTo }) };
    }
    case 'later':
      return answer;
  }
}
