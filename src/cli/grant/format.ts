import { dateTime, isoOrNull, relativeTime, spanText, when, expiryOf } from '../../operations/format.ts';
import type { Config } from '../../config/config.ts';
import { certificateFacts } from '../../grants/client-certificate.ts';
import { accountOf, clockOf, type Credential, dueAt, endOf, isRefreshable } from '../../domain/credential.ts';
import { type Grant, hasEnded, stateNow } from '../../domain/grant.ts';
import type { Dialect } from '../../domain/provider.ts';
import {
  comingRefresh,
  refreshTimesOf,
  type RefreshTokenEnds,
  refreshTokenEndsOf,
} from '../../grants/refresh-schedule.ts';
import type { OpenedGrant } from '../../grants/registry.ts';
import { withoutStop } from '../../lib/text.ts';
import type { GrantActivity, GrantPolicy } from '../../store/store.ts';

/** Rows of the settings of a grant; null: nothing is set. */
export function settingsRows(policy: GrantPolicy | null, now: number) {
  const { expiresAt = null, labels = [], metadata = {} } = policy ?? {};
  const pairs = Object.entries(metadata).map(([key, value]) => `${key}=${value}`);
  return {
    expires: expiresAt === null ? null : when(expiresAt, now),
    'default ttl': spanOrNull(policy?.defaultTtlMs),
    'maximum ttl': spanOrNull(policy?.maxTtlMs),
    'lease ttl': spanOrNull(policy?.leaseDefaultMs),
    'maximum lease ttl': spanOrNull(policy?.leaseMaxMs),
    labels: labels.length === 0 ? null : labels.join(', '),
    metadata: pairs.length === 0 ? null : pairs.join(', '),
  } as const satisfies Readonly<Record<string, string | null>>;
}

/** Settings for `--json`: times are ISO 8601, spans are seconds. */
export function settingsJson(policy: GrantPolicy | null): Readonly<Record<string, unknown>> {
  return {
    expires_at: isoOrNull(policy?.expiresAt ?? null),
    default_ttl: secondsOrNull(policy?.defaultTtlMs),
    max_ttl: secondsOrNull(policy?.maxTtlMs),
    default_lease_ttl: secondsOrNull(policy?.leaseDefaultMs),
    max_lease_ttl: secondsOrNull(policy?.leaseMaxMs),
    labels: policy?.labels ?? [],
    metadata: policy?.metadata ?? {},
  };
}

/**
 * Changed values for the audit log: `max_lease_ttl 3600 (was null)`. Spans are seconds, as in JSON. Omits
 * metadata values, because the log is in the clear.
 */
export function changeText(before: GrantPolicy | null, after: GrantPolicy): string {
  const was = settingsJson(before);
  return Object.entries(settingsJson(after))
    .map(([key, value]) => [key, JSON.stringify(value), JSON.stringify(was[key])])
    .filter(([, now, then]) => now !== then)
    .map(([key, now, then]) => (key === 'metadata' ? key : `${key} ${now} (was ${then})`))
    .join(', ');
}

function spanOrNull(milliseconds: number | null | undefined): string | null {
  return milliseconds == null ? null : spanText(milliseconds);
}

function secondsOrNull(milliseconds: number | null | undefined): number | null {
  return milliseconds == null ? null : milliseconds / 1_000;
}

/** Rows of `grant show` and `grant import`; none if the credential is not a certificate. */
export function certificateRows(credential: Credential, now: number): Readonly<Record<string, string>> {
  const facts = certificateFacts(credential);
  if (facts === null) return {};
  const { subject, issuer, serial, validUntil, issuers } = facts;
  return {
    certificate: subject,
    'issued by': issuers === 0 ? issuer : `${issuer} (${issuers} of the issuers sent along)`,
    serial,
    'valid until': `${dateTime(validUntil)} (${relativeTime(validUntil, now)})`,
  };
}

/** The scopes as one text; `-` if there are none. */
export function scopesOf({ scopes }: Grant): string {
  return scopes.length === 0 ? '-' : scopes.join(' ');
}

/** The account with all its details: `alice@acme.test (name Alice Adams)`; null: nothing names it. */
export function accountText(details: Readonly<Record<string, string>>): string | null {
  const account = accountOf(details);
  const more = Object.entries(details)
    .filter(([name, value]) => value !== account && name !== 'picture')
    .map(([name, value]) => `${name} ${value}`);
  return account === null || more.length === 0 ? account : `${account} (${more.join(', ')})`;
}

/** Rows of `grant show`, without empty ones. */
export function clockRows(
  grant: Grant,
  clocks: Clocks,
  now: number,
): Readonly<Record<string, string | null>> {
  const { obtainedAt, dueAt, usedAt, refreshedAt, failure, next } = clocks;
  return {
    obtained: obtainedAt === null ? null : when(obtainedAt, now),
    'due for refresh': dueAt === null ? null : dueAt <= now ? 'now' : when(dueAt, now),
    'token expires': expiryOf(grant, now),
    'refresh token': refreshTokenWords(clocks, now),
    'last refresh': refreshedAt === null ? null : when(refreshedAt, now),
    'last use': usedAt === null ? 'never' : when(usedAt, now),
    'last error': failure === null ? null : `${relativeTime(failure.at, now)}: ${failure.text}`,
    next: nextWords(next, grant, now),
  };
}

/** Clocks for `--json`: ISO 8601. */
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
  if (type === 'source' && what === 'refresh_on_use')
    return 'a request asks the source, where no value is in memory';
  const then = at === null || at <= now ? 'now' : relativeTime(at, now);
  switch (what) {
    case 'refresh_ahead':
      return `a running proxy refreshes the token ${then}`;
    case 'keep_alive':
      return `a running proxy refreshes it ${then}, so that it does not expire`;
    case 'refresh_on_use':
      if (at === null) return 'the token is refreshed when an API refuses it';
      return at <= now
        ? 'the next request refreshes the token'
        : `requests ${then} or later refresh the token`;
    case 'end':
      return `the ${type === 'client_certificate' ? 'certificate' : 'token'} ends ${then}, and nothing can renew it`;
    case 'consent':
      return 'nothing, until you consent again';
    case 'nothing':
      return 'nothing';
  }
}

/** Times in milliseconds since the epoch; null: none, or unknown. */
export interface Clocks {
  readonly obtainedAt: number | null;
  readonly endsAt: number | null;
  /** Time from which a use refreshes the token. */
  readonly dueAt: number | null;
  readonly refreshToken: RefreshTokenEnds;
  readonly usedAt: number | null;
  readonly refreshedAt: number | null;
  readonly failure: Failure | null;
  readonly next: Next;
}

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
