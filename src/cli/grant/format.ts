import { accountOf, type Credential } from '../../domain/credential.ts';
import type { Grant } from '../../domain/grant.ts';
import { certificateFacts } from '../../grants/client-certificate.ts';
import { dateTime, expiryOf, relativeTime, spanText, when } from '../../operations/format.ts';
import type { Clocks } from '../../operations/grant-clocks.ts';
import type { ShownGrant } from '../../operations/grant.ts';

/** Texts about grants that several commands print. */

/** Rows of the settings of a grant; null: nothing is set. */
export function settingsRows(policy: ShownGrant['policy'], now: number) {
  const { expiresAt, labels, metadata } = policy;
  const pairs = Object.entries(metadata).map(([key, value]) => `${key}=${value}`);
  return {
    expires: expiresAt === null ? null : when(expiresAt, now),
    'default ttl': spanOrNull(policy.defaultTtlMs),
    'maximum ttl': spanOrNull(policy.maxTtlMs),
    'lease ttl': spanOrNull(policy.leaseDefaultMs),
    'maximum lease ttl': spanOrNull(policy.leaseMaxMs),
    labels: labels.length === 0 ? null : labels.join(', '),
    metadata: pairs.length === 0 ? null : pairs.join(', '),
  } as const satisfies Readonly<Record<string, string | null>>;
}

function spanOrNull(milliseconds: number | null): string | null {
  return milliseconds === null ? null : spanText(milliseconds);
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

function refreshTokenWords({ refreshToken: { unusedAt, consentAt } }: Clocks, now: number): string | null {
  const parts: string[] = [];
  if (unusedAt !== null)
    parts.push(
      unusedAt <= now
        ? `has probably died: it was not used before ${when(unusedAt, now)}`
        : `dies ${when(unusedAt, now)} unless it is used before`,
    );
  if (consentAt !== null)
    parts.push(`a new consent ${consentAt <= now ? 'was' : 'is'} needed ${when(consentAt, now)}`);
  return parts.join('; ') || null;
}

function nextWords({ what, at }: Clocks['next'], { type }: Pick<Grant, 'type'>, now: number): string {
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
