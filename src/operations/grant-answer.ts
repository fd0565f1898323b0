import { z } from 'zod';
import type { Credential, Renewal } from '../domain/credential.ts';
import { endsSoon, type Grant, stateNow, titleOf } from '../domain/grant.ts';
import type { Provider } from '../domain/provider.ts';
import { certificateFacts } from '../grants/client-certificate.ts';
import { replaceRemedy } from '../grants/token-result.ts';
import type { GrantPolicy } from '../store/store.ts';
import { isoTime, relativeTime } from './format.ts';
import { membersOf, texts, time, timeOrNull } from './members.ts';

/** A grant in answers for programs. Times are ISO 8601, spans are seconds. */

const state = z.enum(['active', 'expired', 'revoked', 'reauth_required']);

export const grantMembers = {
  id: z.uuid(),
  name: z.string(),
  user: z.string().describe('The user whose account it is.'),
  provider: z.string(),
  type: z.string(),
  state,
  state_reason: z.string().nullable(),
  scopes: texts,
  expires_at: timeOrNull.describe('End of the stored token.'),
  expires_in: z.int().nullable(),
  refreshable: z.boolean(),
  parent: z.uuid().nullable().describe('Grant that a minted grant belongs to.'),
  ends_soon: z.boolean().describe('True if the token ends soon, and nothing renews it.'),
  revision: z.int(),
  created_at: time,
  updated_at: time,
};

export const account = z
  .string()
  .nullable()
  .describe('E-mail address or name of the account at the provider.');

export const accountDetails = z
  .record(z.string(), z.string())
  .describe('Each name of the account, as the provider has it.');

/** Absent: the grant has no client certificate. */
export const certificate = z
  .strictObject({
    subject: z.string(),
    issuer: z.string(),
    serial: z.string(),
    sha256: z.string(),
    valid_from: time,
    valid_until: time,
    issuers_sent: z.int(),
  })
  .optional();

/** Returns the members of every answer about a grant. */
export function grantAnswer(grant: Grant, now: number, policy: GrantPolicy | null = null) {
  const { expiresAt } = grant;
  return membersOf(grantMembers, {
    ...grant,
    state: stateOf(grant, policy, now),
    expiresIn: expiresAt === null ? null : Math.floor((expiresAt - now) / 1_000),
    endsSoon: endsSoon(grant, now),
  });
}

/** The state; `expired` also after the grant's own expiry. */
export function stateOf(grant: Grant, policy: GrantPolicy | null, now: number): Grant['state'] {
  const state = stateNow(grant, now);
  return state === 'active' && policy?.expiresAt != null && policy.expiresAt <= now ? 'expired' : state;
}

/** Returns the warning that the token ends soon and nothing renews it; null: it does not. */
export function soonEndOf(grant: Grant, provider: Provider | undefined, now: number) {
  if (grant.expiresAt === null || !endsSoon(grant, now)) return null;
  const what = grant.type === 'client_certificate' ? 'client certificate' : 'token';
  return {
    sentence: `The ${what} of ${titleOf(grant)} ends ${relativeTime(grant.expiresAt, now)}, and nothing renews it.`,
    hint: replaceRemedy(grant, [], provider),
  };
}

/** Returns the member `certificate`, for a grant that has a client certificate. */
export function certificateAnswer(credential: Credential) {
  const facts = certificateFacts(credential);
  if (facts === null) return {};
  const { subject, issuer, serial, sha256, validFrom, validUntil, issuers } = facts;
  const times = { valid_from: isoTime(validFrom), valid_until: isoTime(validUntil) };
  return { certificate: { subject, issuer, serial, sha256, ...times, issuers_sent: issuers } };
}

/** Source of new tokens, by its name in the config file; null: none. */
export function renewedBy(credential: Credential): 'refresh_token' | 'source' | Renewal['kind'] | null {
  if (credential.type === 'source') return 'source';
  if (credential.type !== 'oauth2') return null;
  return credential.renewal?.kind ?? (credential.refreshToken === null ? null : 'refresh_token');
}
