/** What a person and a program are told of a grant. Nothing here ever sees a credential. */
import type { Credential, Renewal } from '../../grants/credential.ts';
import { defaultUser, type Grant } from '../../grants/grant.ts';
import { hasEnded, stateNow } from '../../grants/state-now.ts';
import { isoTime, relativeTime } from '../time.ts';

/** `in 54 min`, `54 min ago (refreshed on use)`, `no end`; of a token that says none and can be refreshed,
 * `not known`. */
export function expiryOf(grant: Grant, now: number): string {
  if (grant.expiresAt === null) return grant.refreshable ? 'not known' : 'no end';
  const when = relativeTime(grant.expiresAt, now);
  return hasEnded(grant, now) && stateNow(grant, now) === 'active' ? `${when} (refreshed on use)` : when;
}

/** `github`, or `github (user alice)`. */
export function titleOf({ name, user }: Grant): string {
  return user === defaultUser ? name : `${name} (user ${user})`;
}

/** A command about a grant: `sidekey grant remove github --user alice`. */
export function grantCommand(
  what: 'refresh' | 'extend' | 'remove',
  { name, user }: Pick<Grant, 'name' | 'user'>,
): string {
  return `sidekey grant ${what} ${name}${user === defaultUser ? '' : ` --user ${user}`}`;
}

/** The command that refreshes a grant whatever its clock says. */
export function refreshCommand(grant: Grant): string {
  return `${grantCommand('refresh', grant)} --force`;
}

/** The scopes as one text; `-` where there are none. */
export function scopesOf({ scopes }: Grant): string {
  return scopes.length === 0 ? '-' : scopes.join(' ');
}

/** What gets a new token for the credential, in the words of the config file; null: nothing does. */
export function renewedBy(credential: Credential): 'refresh_token' | Renewal['kind'] | null {
  if (credential.type !== 'oauth2') return null;
  return credential.renewal?.kind ?? (credential.refreshToken === null ? null : 'refresh_token');
}

/** Which account it is, in the provider's own words; null: it says nothing. */
export function accountOf(details: Readonly<Record<string, string>>): string | null {
  const words = Object.entries(details).map(([name, value]) => `${name} ${value}`);
  return words.length === 0 ? null : words.join(', ');
}

/** A grant for programs. Times are ISO 8601, spans are seconds. */
export function grantJson(grant: Grant, now: number): Readonly<Record<string, unknown>> {
  const { id, name, user, provider, type, stateReason, scopes, expiresAt, refreshable } = grant;
  return {
    id,
    name,
    user,
    provider,
    type,
    state: stateNow(grant, now),
    state_reason: stateReason,
    scopes,
    expires_at: expiresAt === null ? null : isoTime(expiresAt),
    expires_in: expiresAt === null ? null : Math.floor((expiresAt - now) / 1_000),
    refreshable,
    revision: grant.revision,
    created_at: isoTime(grant.createdAt),
    updated_at: isoTime(grant.updatedAt),
  };
}
