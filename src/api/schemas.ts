import { z } from 'zod';
import { account, accountDetails, certificate, grantMembers } from '../operations/grant-answer.ts';
import { timeOrNull } from '../operations/members.ts';

/** Shapes of the API that several routes share. Times are ISO 8601, spans are seconds. */

const texts = z.array(z.string());

const settingsMembers = {
  expires_at: timeOrNull.describe('End of the grant itself.'),
  default_ttl: z.number().nullable(),
  max_ttl: z.number().nullable(),
  default_lease_ttl: z.number().nullable(),
  max_lease_ttl: z.number().nullable(),
  labels: texts,
  metadata: z.record(z.string(), z.string()),
};

export const grantInList = z
  .strictObject({
    ...grantMembers,
    account,
    used_at: timeOrNull,
    grant_expires_at: timeOrNull,
  })
  .meta({ id: 'GrantInList' });

export const grant = z
  .strictObject({
    ...grantMembers,
    lacked_scopes: z.unknown(),
    obtained_at: timeOrNull,
    refresh_due_at: timeOrNull,
    refresh_token_dies_at: timeOrNull,
    consent_ends_at: timeOrNull,
    used_at: timeOrNull,
    refreshed_at: timeOrNull,
    failed_at: timeOrNull,
    failure: z.string().nullable(),
    next: z.strictObject({ what: z.string(), at: timeOrNull }),
    renewed_by: z.string().nullable(),
    source: z.string().nullable(),
    dpop: z.unknown(),
    account,
    account_details: accountDetails,
    grant_type: z.string().nullable(),
    client_id: z.string().nullable(),
    audience: texts.describe('Hosts that its credential may be sent to.'),
    fingerprint: z.string().nullable(),
    domains: texts,
    settings: z.strictObject(settingsMembers),
    reached_by: z.strictObject({
      agents: z.array(z.strictObject({ name: z.string(), state: z.string() })),
      active_leases: z.array(z.strictObject({ id: z.string(), agent: z.string() })),
    }),
    certificate,
  })
  .meta({ id: 'Grant' });

export const grantSettings = z
  .strictObject({ id: z.uuid(), name: z.string(), user: z.string(), scopes: texts, ...settingsMembers })
  .meta({ id: 'GrantSettings' });
