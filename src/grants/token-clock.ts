/** When a token is due for a refresh, and when it has ended. Pure; times in milliseconds since the epoch. */
import type { Credential } from './credential.ts';

/**
 * - `fresh`: use it.
 * - `due`: still valid, but about to end: use it and have it refreshed meanwhile.
 * - `ended`: of no use any more.
 * - `absent`: there is no token yet, only what gets one.
 */
export type TokenClock = 'fresh' | 'due' | 'ended' | 'absent';

/**
 * Where a credential stands at `now`. A token that says no end is fresh until an upstream refuses it.
 *
 * The skew is at most a fifth of the token's lifetime, so that a token of 60 s is refreshed once in 48 s and not,
 * with a skew of 60 s or more, for every request. What cannot be refreshed is never due.
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

/** When the stored token ends; null: it says no end, or there is none. */
export function endOf(credential: Credential): number | null {
  return 'expiresAt' in credential ? credential.expiresAt : null;
}

/** Whether the credential holds what gets a new token: a refresh token, or another way. */
export function isRefreshable(credential: Credential): boolean {
  return (
    credential.type === 'oauth2' && (credential.refreshToken !== null || credential.renewal !== undefined)
  );
}
