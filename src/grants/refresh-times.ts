/** When a grant is refreshed though no request waits for it. Pure; times in milliseconds since the epoch. */
import type { OAuth2Credential, SealedCredential } from './credential.ts';
import type { Dialect } from './dialect.ts';
import { dueAt } from './token-clock.ts';

/** A refresh begins somewhere within: what several processes and many grants have to do is spread over it. */
export interface Span {
  readonly from: number;
  readonly to: number;
}

/** What a credential asks for by itself. */
export interface RefreshTimes {
  /** Before the access token ends, for a grant that was used lately; null: it is refreshed on use, or never. */
  readonly ahead: Span | null;
  /** Before the refresh token dies unused; null: it does not, or nobody knows when. */
  readonly keepAlive: Span | null;
}

/** A token that lives shorter would be refreshed all day long for nobody. */
const leastLifetimeMs = 60_000;

/**
 * The second half of the time in which a token is due is left for attempts that fail; so is the second half of a
 * refresh token's life without use, for a machine that is off.
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
  if (from === null || expiresAt === null || expiresAt - obtainedAt < leastLifetimeMs) return null;
  return { from, to: (from + expiresAt) / 2 };
}

function keepAlive(credential: OAuth2Credential, dialect: Dialect | null): Span | null {
  const idleMs = dialect?.refreshTokenIdleMs ?? null;
  if (idleMs === null || credential.refreshToken === null) return null;
  const from = credential.obtainedAt + idleMs / 2;
  return { from, to: from + idleMs / 10 };
}

/** When a refresh token dies. */
export interface RefreshTokenEnds {
  /** Where it is not used before; null: not known. */
  readonly unusedAt: number | null;
  /** However often it is used; null: not known. */
  readonly consentAt: number | null;
}

/** `consentedAt`: when the person consented, as far as it is known. */
export function refreshTokenEndsOf(
  { credential }: SealedCredential,
  { dialect, consentedAt }: { readonly dialect: Dialect | null; readonly consentedAt: number },
): RefreshTokenEnds {
  if (credential.type !== 'oauth2' || credential.refreshToken === null || dialect === null) {
    return { unusedAt: null, consentAt: null };
  }
  const { refreshTokenIdleMs, refreshTokenLifeMs } = dialect;
  return {
    unusedAt: refreshTokenIdleMs === null ? null : credential.obtainedAt + refreshTokenIdleMs,
    consentAt: refreshTokenLifeMs === null ? null : consentedAt + refreshTokenLifeMs,
  };
}

/** A refresh that comes by itself. */
export interface ComingRefresh {
  readonly why: keyof RefreshTimes;
  readonly span: Span;
}

/**
 * The next refresh that comes by itself while a proxy runs; null: none does. `usedAt`: the last use, null: never.
 * `keepFreshMs`: how long after its last use a grant's token is kept fresh.
 */
export function comingRefresh(
  { ahead, keepAlive }: RefreshTimes,
  {
    usedAt,
    now,
    keepFreshMs,
  }: { readonly usedAt: number | null; readonly now: number; readonly keepFreshMs: number },
): ComingRefresh | null {
  const isKeptFresh = ahead !== null && usedAt !== null && Math.max(ahead.from, now) - usedAt < keepFreshMs;
  if (isKeptFresh && (keepAlive === null || ahead.from <= keepAlive.from))
    return { why: 'ahead', span: ahead };
  return keepAlive === null ? null : { why: 'keepAlive', span: keepAlive };
}
