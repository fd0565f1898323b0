/** The clocks of a grant in words, and for programs. */
import type { Grant } from '../../grants/grant.ts';
import { dateTime, isoTime, relativeTime } from '../time.ts';
import type { Clocks, Next } from './clocks.ts';
import { expiryOf } from './words.ts';

/** Rows of `grant show`, without those that have nothing to say. */
export function clockRows(
  grant: Grant,
  clocks: Clocks,
  now: number,
): Readonly<Record<string, string | null>> {
  const { obtainedAt, dueAt, usedAt, refreshedAt, failure, next } = clocks;
  return {
    obtained: obtainedAt === null ? null : when(obtainedAt, now),
    'due for refresh': dueAt === null ? null : dueAt <= now ? 'now' : when(dueAt, now),
    expires: expiryOf(grant, now),
    'refresh token': refreshTokenWords(clocks, now),
    'last refresh': refreshedAt === null ? null : when(refreshedAt, now),
    'last use': usedAt === null ? 'never' : when(usedAt, now),
    'last error': failure === null ? null : `${relativeTime(failure.at, now)}: ${failure.text}`,
    next: nextWords(next, grant, now),
  };
}

/** The same for programs: ISO 8601. */
export function clockJson({
  obtainedAt,
  dueAt,
  refreshToken,
  usedAt,
  refreshedAt,
  failure,
  next,
}: Clocks): Readonly<Record<string, unknown>> {
  return {
    obtained_at: isoOrNull(obtainedAt),
    refresh_due_at: isoOrNull(dueAt),
    refresh_token_dies_at: isoOrNull(refreshToken.unusedAt),
    consent_ends_at: isoOrNull(refreshToken.consentAt),
    used_at: isoOrNull(usedAt),
    refreshed_at: isoOrNull(refreshedAt),
    failed_at: isoOrNull(failure?.at ?? null),
    failure: failure?.text ?? null,
    next: { what: next.what, at: isoOrNull(next.at) },
  };
}

/** When a grant was used last, for a column. */
export function lastUse(usedAt: number | null, now: number): string {
  return usedAt === null ? 'never' : relativeTime(usedAt, now);
}

/** ISO 8601; null where there is no time. */
export function isoOrNull(at: number | null): string | null {
  return at === null ? null : isoTime(at);
}

function refreshTokenWords({ refreshToken: { unusedAt, consentAt } }: Clocks, now: number): string | null {
  const parts = [
    unusedAt === null
      ? null
      : unusedAt <= now
        ? `has probably died: it was not used before ${when(unusedAt, now)}`
        : `dies ${when(unusedAt, now)} unless it is used before`,
    consentAt === null
      ? null
      : consentAt <= now
        ? `a new consent was needed ${when(consentAt, now)}`
        : `a new consent is needed ${when(consentAt, now)}`,
  ].filter((part) => part !== null);
  return parts.length === 0 ? null : parts.join('; ');
}

function nextWords({ what, at }: Next, { type }: Pick<Grant, 'type'>, now: number): string {
  const then = at === null || at <= now ? 'now' : relativeTime(at, now);
  switch (what) {
    case 'refresh_ahead':
      return `a running proxy refreshes the token ${then}`;
    case 'keep_alive':
      return `a running proxy uses the refresh token ${then}, so that it does not die unused`;
    case 'refresh_on_use':
      if (at === null) return 'the token is refreshed when an API refuses it';
      return at <= now
        ? 'the next request refreshes the token'
        : `requests ${then} or later refresh the token`;
    case 'end':
      return `the ${type === 'client_certificate' ? 'certificate' : 'token'} ends ${then}, and nothing can renew it`;
    case 'consent':
      return 'nothing, until somebody consents anew';
    case 'nothing':
      return 'nothing';
  }
}

function when(at: number, now: number): string {
  return `${relativeTime(at, now)} (${dateTime(at)})`;
}
