/** Where a grant stands in time, and what will happen to it by itself. Nothing of a credential is in what it answers. */
import type { Config } from '../../config/config.ts';
import { clockOf, dueAt, endOf, isRefreshable } from '../../grants/credential.ts';
import { type Grant, hasEnded, stateNow } from '../../grants/grant.ts';
import type { Dialect } from '../../grants/provider.ts';
import {
  comingRefresh,
  refreshTimesOf,
  type RefreshTokenEnds,
  refreshTokenEndsOf,
} from '../../grants/refresh-schedule.ts';
import type { OpenedGrant } from '../../grants/registry.ts';
import { withoutStop } from '../../oauth/http.ts';
import type { GrantActivity } from '../../store/store.ts';

/** Times in milliseconds since the epoch; null: there is none, or it is not known. */
export interface Clocks {
  readonly obtainedAt: number | null;
  readonly endsAt: number | null;
  /** From when on the token is refreshed when it is used. */
  readonly dueAt: number | null;
  readonly refreshToken: RefreshTokenEnds;
  readonly usedAt: number | null;
  readonly refreshedAt: number | null;
  readonly failure: Failure | null;
  readonly next: Next;
}

/** The last refresh that failed since the credential was stored. */
interface Failure {
  readonly at: number;
  /** One sentence, without a full stop. */
  readonly text: string;
}

/**
 * What happens next, and when; null: at a time that no clock tells.
 *
 * - `refresh_ahead`: a running proxy refreshes the token, though nobody asks.
 * - `keep_alive`: the same, so that the refresh token does not die unused.
 * - `refresh_on_use`: the next request from then on has it refreshed.
 * - `end`: the token ends, and nothing can renew it.
 * - `consent`: nothing, before a person consents again.
 * - `nothing`
 */
export interface Next {
  readonly what: 'refresh_ahead' | 'keep_alive' | 'refresh_on_use' | 'end' | 'consent' | 'nothing';
  readonly at: number | null;
}

/** What the clocks are read with. */
interface ClockParts {
  readonly activity: GrantActivity | null;
  /** Of the grant's provider; null: it is not defined. */
  readonly dialect: Dialect | null;
  readonly tokens: Config['tokens'];
  readonly now: number;
}

/** Where the grant stands at `now`. */
export function clocksOf(opened: OpenedGrant, parts: ClockParts): Clocks {
  const { grant, sealed } = opened;
  const { credential } = sealed;
  const { activity, dialect } = parts;
  return {
    obtainedAt:
      credential.type === 'oauth2' && credential.accessToken !== null ? credential.obtainedAt : null,
    endsAt: endOf(credential),
    dueAt: dueAt(credential, parts.tokens.skewMs),
    refreshToken: refreshTokenEndsOf(sealed, { dialect, consentedAt: consentOf(opened) }),
    usedAt: activity?.usedAt ?? null,
    refreshedAt: activity?.refreshedAt ?? null,
    failure: failureOf(grant, activity),
    next: nextOf(opened, parts),
  };
}

/** What failed before the credential was stored says nothing of it. */
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
