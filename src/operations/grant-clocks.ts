import { z } from 'zod';
import type { Config } from '../config/config.ts';
import { clockOf, dueAt, endOf, isRefreshable, type OpenedGrant } from '../domain/credential.ts';
import { type Grant, hasEnded, stateNow } from '../domain/grant.ts';
import type { Dialect } from '../domain/provider.ts';
import { comingRefresh, refreshTimesOf, refreshTokenEndsOf } from '../grants/refresh-times.ts';
import { withoutStop } from '../lib/text.ts';
import type { GrantActivity } from '../store/store.ts';
import { isoOrNull } from './format.ts';
import { timeOrNull } from './members.ts';

/** Clocks of a grant: when its credential was obtained, used and renewed, and what happens next. */

export const clockMembers = {
  obtained_at: timeOrNull,
  refresh_due_at: timeOrNull,
  refresh_token_dies_at: timeOrNull,
  consent_ends_at: timeOrNull,
  used_at: timeOrNull,
  refreshed_at: timeOrNull,
  failed_at: timeOrNull,
  failure: z.string().nullable(),
  next: z.strictObject({ what: z.string(), at: timeOrNull }),
};

export function clockAnswer({ refreshToken, failure, next, ...clocks }: Clocks) {
  return {
    obtained_at: isoOrNull(clocks.obtainedAt),
    refresh_due_at: isoOrNull(clocks.dueAt),
    refresh_token_dies_at: isoOrNull(refreshToken.unusedAt),
    consent_ends_at: isoOrNull(refreshToken.consentAt),
    used_at: isoOrNull(clocks.usedAt),
    refreshed_at: isoOrNull(clocks.refreshedAt),
    failed_at: isoOrNull(failure?.at ?? null),
    failure: failure?.text ?? null,
    next: { what: next.what, at: isoOrNull(next.at) },
  };
}

/** Times in milliseconds since the epoch; null: none, or unknown. */
export type Clocks = ReturnType<typeof clocksOf>;

/** The last failed refresh since the credential was stored. */
interface Failure {
  readonly at: number;
  /** Sentence without a full stop. */
  readonly text: string;
}

/**
 * Next event, and its time; null: no clock determines it.
 *
 * - `refresh_ahead`: a running proxy refreshes the token before it is used.
 * - `keep_alive`: a running proxy uses the refresh token, so that it does not expire unused.
 * - `refresh_on_use`: the next request after that time refreshes the token.
 * - `end`: the token ends, and nothing can renew it.
 * - `consent`: nothing, until a person consents again.
 * - `nothing`
 */
interface Next {
  readonly what: 'refresh_ahead' | 'keep_alive' | 'refresh_on_use' | 'end' | 'consent' | 'nothing';
  readonly at: number | null;
}

interface ClockParts {
  readonly activity: GrantActivity | null;
  /** Dialect of the provider; null: the provider is not defined. */
  readonly dialect: Dialect | null;
  readonly tokens: Config['tokens'];
  readonly now: number;
}

export function clocksOf(opened: OpenedGrant, parts: ClockParts) {
  const { grant, sealed } = opened;
  const { credential } = sealed;
  const { activity, dialect } = parts;
  return {
    obtainedAt:
      credential.type === 'oauth2' && credential.accessToken !== null ? credential.obtainedAt : null,
    endsAt: endOf(credential),
    /** Time from which a use refreshes the token. */
    dueAt: dueAt(credential, parts.tokens.skewMs),
    refreshToken: refreshTokenEndsOf(sealed, { dialect, consentedAt: consentOf(opened) }),
    usedAt: activity?.usedAt ?? null,
    refreshedAt: activity?.refreshedAt ?? null,
    failure: failureOf(grant, activity),
    next: nextOf(opened, parts),
  };
}

/** Returns the last failure. Ignores a failure before the credential was stored. */
export function failureOf(grant: Grant, activity: GrantActivity | null): Failure | null {
  if (activity === null || activity.failedAt === null || activity.failedAt < grant.updatedAt) return null;
  return { at: activity.failedAt, text: withoutStop(activity.failure ?? 'not known') };
}

function consentOf({ grant, sealed: { credential } }: OpenedGrant): number {
  return (credential.type === 'oauth2' ? credential.consentedAt : undefined) ?? grant.createdAt;
}

function nextOf({ grant, sealed }: OpenedGrant, { activity, dialect, tokens, now }: ClockParts): Next {
  const { credential } = sealed;
  switch (stateNow(grant, now)) {
    case 'revoked':
    case 'expired':
      return { what: 'nothing', at: null };
    case 'reauth_required':
      return { what: 'consent', at: null };
    case 'active':
      break;
  }
  if (!isRefreshable(credential)) {
    const at = endOf(credential);
    return at === null ? { what: 'nothing', at } : { what: 'end', at };
  }
  const times = refreshTimesOf(sealed, { skewMs: tokens.skewMs, dialect });
  const usedAt = activity?.usedAt ?? null;
  const coming = comingRefresh(times, { usedAt, now, keepFreshMs: tokens.keepFreshMs });
  if (coming !== null) {
    return {
      what: coming.why === 'ahead' ? 'refresh_ahead' : 'keep_alive',
      at: Math.max(now, coming.span.from),
    };
  }
  const ended = hasEnded(grant, now) || clockOf(credential, now, 0) === 'absent';
  return { what: 'refresh_on_use', at: ended ? now : dueAt(credential, tokens.skewMs) };
}
