import type { Grant } from '../domain/grant.ts';
import {
  type Credential,
  dueAt,
  type OAuth2Credential,
  type SealedCredential,
} from '../domain/credential.ts';
import type { Dialect } from '../domain/provider.ts';

/** Times of background refreshes. Pure; times are milliseconds since the epoch. */

/** Period in which a refresh starts, to spread those of many processes and grants. */
export interface Span {
  readonly from: number;
  readonly to: number;
}

export interface RefreshTimes {
  /** Time before the access token expires, for recently used grants; null: refreshed on use, or never. */
  readonly ahead: Span | null;
  /** Time before an unused refresh token expires; null: it does not expire, or its lifetime is unknown. */
  readonly keepAlive: Span | null;
}

/** Times of a grant that no background refresh may help. */
export const neverDue = { dueAt: null, obtainedAt: null };

/** Reports whether a refresh may help. A grant that needs a new consent is not refreshed. */
export function isKept({ state, refreshable }: Pick<Grant, 'state' | 'refreshable'>): boolean {
  return refreshable && (state === 'active' || state === 'expired');
}

/** Returns the epoch milliseconds since which a refresh token may be unused; null: there is none. */
export function refreshTokenSince(credential: Credential): number | null {
  return credential.type === 'oauth2' && credential.refreshToken !== null ? credential.obtainedAt : null;
}

/** Shorter-lived tokens are not kept fresh: they would be refreshed all day. */
const minLifetimeMs = 60_000;

/**
 * Returns the refresh times. The second half of the time in which a token is due is left for failed attempts.
 * So is the second half of a refresh token's idle lifetime, for a machine that is off.
 */
export function refreshTimesOf(
  { credential }: SealedCredential,
  { skewMs, dialect }: { readonly skewMs: number; readonly dialect: Dialect | null },
): RefreshTimes {
  if (credential.type !== 'oauth2') return { ahead: null, keepAlive: null };
  return { ahead: ahead(credential, skewMs), keepAlive: keepAlive(credential, dialect) };
}

function ahead(credential: OAuth2Credential, skewMs: number): Span | null {
  const from = dueAt(credential, skewMs);
  const { expiresAt, obtainedAt } = credential;
  if (from === null || expiresAt === null || expiresAt - obtainedAt < minLifetimeMs) return null;
  return { from, to: (from + expiresAt) / 2 };
}

function keepAlive(credential: OAuth2Credential, dialect: Dialect | null): Span | null {
  const idleMs = dialect?.refreshTokenIdleTimeoutMs ?? null;
  if (idleMs === null || credential.refreshToken === null) return null;
  const from = credential.obtainedAt + idleMs / 2;
  return { from, to: from + idleMs / 10 };
}

/** Times at which a refresh token expires. */
interface RefreshTokenEnds {
  /** Expiry if unused; null: unknown. */
  readonly unusedAt: number | null;
  /** Expiry despite use; null: unknown. */
  readonly consentAt: number | null;
}

/** `consentedAt`: time of the consent, as far as known. */
export function refreshTokenEndsOf(
  { credential }: SealedCredential,
  { dialect, consentedAt }: { readonly dialect: Dialect | null; readonly consentedAt: number },
): RefreshTokenEnds {
  if (credential.type !== 'oauth2' || credential.refreshToken === null || dialect === null)
    return { unusedAt: null, consentAt: null };
  const { refreshTokenIdleTimeoutMs, refreshTokenLifetimeMs } = dialect;
  return {
    unusedAt: refreshTokenIdleTimeoutMs === null ? null : credential.obtainedAt + refreshTokenIdleTimeoutMs,
    consentAt: refreshTokenLifetimeMs === null ? null : consentedAt + refreshTokenLifetimeMs,
  };
}

/**
 * Returns the next background refresh; null: none. `usedAt`: last use, null: never. `keepFreshMs`:
 * milliseconds for which a token is kept fresh after its last use.
 */
export function comingRefresh(
  { ahead, keepAlive }: RefreshTimes,
  {
    usedAt,
    now,
    keepFreshMs,
  }: { readonly usedAt: number | null; readonly now: number; readonly keepFreshMs: number },
): { readonly why: keyof RefreshTimes; readonly span: Span } | null {
  const isKeptFresh = ahead !== null && usedAt !== null && Math.max(ahead.from, now) - usedAt < keepFreshMs;
  if (isKeptFresh && (keepAlive === null || ahead.from <= keepAlive.from))
    return { why: 'ahead', span: ahead };
  return keepAlive === null ? null : { why: 'keepAlive', span: keepAlive };
}
