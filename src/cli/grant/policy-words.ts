/** What people set for a grant, in words and for programs. */
import type { GrantPolicy } from '../../store/rights.ts';
import { spanText } from '../span.ts';
import { dateTime, relativeTime } from '../time.ts';
import { isoOrNull } from './clock-words.ts';

/** Rows of what is shown of a grant; null: nothing is set. */
export function policyRows(policy: GrantPolicy | null, now: number) {
  const { expiresAt = null, labels = [] } = policy ?? {};
  return {
    'given until': expiresAt === null ? null : `${relativeTime(expiresAt, now)} (${dateTime(expiresAt)})`,
    'extended by': spanOrNull(policy?.defaultTtlMs),
    'extended at most': spanOrNull(policy?.maxTtlMs),
    'leases last': spanOrNull(policy?.leaseDefaultMs),
    'leases at most': spanOrNull(policy?.leaseMaxMs),
    labels: labels.length === 0 ? null : labels.join(', '),
  } as const satisfies Readonly<Record<string, string | null>>;
}

/** The same for programs: times are ISO 8601, spans are seconds. */
export function policyJson(policy: GrantPolicy | null): Readonly<Record<string, unknown>> {
  return {
    expires_at: isoOrNull(policy?.expiresAt ?? null),
    default_ttl: secondsOrNull(policy?.defaultTtlMs),
    max_ttl: secondsOrNull(policy?.maxTtlMs),
    default_lease_ttl: secondsOrNull(policy?.leaseDefaultMs),
    max_lease_ttl: secondsOrNull(policy?.leaseMaxMs),
    labels: policy?.labels ?? [],
  };
}

/** What is another than before, for the audit: `max_lease_ttl 3600 (was null)`; times in seconds, as in JSON. */
export function changeText(before: GrantPolicy | null, after: GrantPolicy): string {
  const was = policyJson(before);
  return Object.entries(policyJson(after))
    .map(([key, value]) => [key, JSON.stringify(value), JSON.stringify(was[key])])
    .filter(([, now, then]) => now !== then)
    .map(([key, now, then]) => `${key} ${now} (was ${then})`)
    .join(', ');
}

function spanOrNull(milliseconds: number | null | undefined): string | null {
  return milliseconds == null ? null : spanText(milliseconds);
}

function secondsOrNull(milliseconds: number | null | undefined): number | null {
  return milliseconds == null ? null : milliseconds / 1_000;
}
