import { z } from 'zod';
import { recordChange } from '../audit/log.ts';
import type { Metadata, OpenedGrant } from '../domain/credential.ts';
import type { Grant } from '../domain/grant.ts';
import type { CredentialEntry } from '../grants/credential-input.ts';
import { grantGone, type KeptSettings, type WantedGrant } from '../grants/keep.ts';
import { inputInvalid, SidekeyError } from '../lib/errors.ts';
import { noPolicy } from '../store/schema.ts';
import type { GrantPolicy } from '../store/store.ts';
import type { Caller } from './caller.ts';
import { isoOrNull, readEnd, spanText } from './format.ts';
import { duration, name, notDuration, text, timeOrNull } from './members.ts';
import type { Changing, Opened } from './operation.ts';

/** Settings of a grant that do not follow from its credential: its end, its leases, labels and metadata. */

const spanOrNone = z.union([duration, z.literal('none')], `${notDuration}; or none`).optional();

/** Members of an input; `none` removes a value. */
export const settingsInput = {
  expires: text.optional().describe('30d, a date, or none.'),
  ttl: spanOrNone,
  max_ttl: spanOrNone,
  lease_ttl: spanOrNone,
  max_lease_ttl: spanOrNone,
  labels: z.array(name).optional(),
  metadata: z
    .record(
      name,
      z
        .string()
        .max(256, 'is longer than 256 characters')
        .refine((value) => !/\p{Cc}/u.test(value), 'has control characters'),
    )
    .optional()
    .describe('Added; an empty value removes its key.'),
};

/** Wanted settings. Spans are milliseconds. */
export type WantedSettings = Partial<z.output<z.ZodObject<typeof settingsInput>>>;

const { metadata: metadataInput, ...policyInput } = settingsInput;
const entryInput = z.object({ metadata: metadataInput, policy: z.strictObject(policyInput).optional() });

/** Reads the settings of an imported credential; null: none. @throws SidekeyError `input_invalid` */
export function readSettings(written: CredentialEntry['settings']): WantedSettings | null {
  if (written.metadata === undefined && written.policy === undefined) return null;
  const { data, error } = entryInput.safeParse(written, { reportInput: false });
  if (data !== undefined) return { ...data.policy, ...(data.metadata && { metadata: data.metadata }) };
  const { path = [], message = '' } = error?.issues[0] ?? {};
  const hint = `"policy" has ${Object.keys(policyInput).join(', ')}; "metadata" has names with texts`;
  throw inputInvalid(`"${path.join('.')}" of the credential: ${message}.`, hint);
}

/** Policy of a grant, and the metadata of its credential. */
interface GrantSettings extends GrantPolicy {
  readonly metadata: Metadata;
}

/** Changed values, as the store has them. Metadata is added; an empty value removes its key. */
type SettingsChange = Partial<Omit<GrantSettings, 'grantId'>>;

/** Returns the settings of a grant. */
export function settingsOf({ grant, sealed }: OpenedGrant, policy: GrantPolicy | null): GrantSettings {
  return { ...(policy ?? noPolicy(grant.id)), metadata: sealed.metadata ?? {} };
}

/**
 * Returns the change of the stored settings. `ttl` sets the end, unless `expires` does; it is stored for the
 * hint about an expired grant.
 *
 * @throws SidekeyError `input_invalid` for an end that is not in the future
 */
export function settingsChange(
  { expires, ttl, max_ttl, lease_ttl, max_lease_ttl, labels, metadata }: WantedSettings,
  now: number,
): SettingsChange {
  const end = typeof ttl === 'number' ? now + ttl : undefined;
  const change = {
    defaultTtlMs: nullIfNone(ttl),
    expiresAt: expires === undefined ? end : expires === 'none' ? null : readEnd('--expires', expires, now),
    maxTtlMs: nullIfNone(max_ttl),
    leaseDefaultMs: nullIfNone(lease_ttl),
    leaseMaxMs: nullIfNone(max_lease_ttl),
    labels: labels && [...new Set(labels)],
    metadata,
  };
  return Object.fromEntries(Object.entries(change).filter(([, value]) => value !== undefined));
}

function nullIfNone(span: number | 'none' | undefined): number | null | undefined {
  return span === 'none' ? null : span;
}

/**
 * Changes the settings of a grant.
 *
 * @throws SidekeyError `input_invalid` if the end is later than the maximum, `audit_unavailable`,
 * `grant_missing`; errors of the vault
 */
export async function changeSettings(
  { store, grants, audit }: Pick<Opened, 'store' | 'grants' | 'audit'>,
  { id, user }: Pick<Grant, 'id' | 'user'>,
  change: SettingsChange,
  at: number,
): Promise<void> {
  const { policy, metadata, reason } = await keptChange(store, id, change, at);
  await recordChange(audit, { event: 'grant.changed', grant: id, user, reason }, async () => {
    const isSealed = await grants.changeMetadata(id, metadata);
    if (!isSealed || !(await store.grantPolicies.set(id, policy))) throw grantGone();
  });
}

/** Returns the settings for `keepGrants`, which throw as `changeSettings`; undefined: none are wanted. */
export function keptSettings(
  { store, now }: Pick<Changing, 'store' | 'now'>,
  wanted: WantedSettings | null,
): WantedGrant['settings'] {
  if (wanted === null || Object.keys(wanted).length === 0) return undefined;
  return async (id) => keptChange(store, id, settingsChange(wanted, now()), now());
}

/** @throws SidekeyError `input_invalid` if the new end is later than the maximum */
async function keptChange(
  { grantPolicies }: Pick<Opened['store'], 'grantPolicies'>,
  id: string,
  change: SettingsChange,
  at: number,
): Promise<KeptSettings> {
  const before = { ...((await grantPolicies.get(id)) ?? noPolicy(id)), metadata: {} };
  const after = { ...before, ...change };
  const max = after.maxTtlMs;
  if (max !== null && (change.expiresAt ?? 0) > at + max)
    throw inputInvalid(
      `The expiry is later than the maximum of ${spanText(max)} from now.`,
      `--expires ${spanText(max)}, or a longer --max-ttl`,
    );
  const { metadata = {}, ...policy } = change;
  return { policy, metadata, reason: changeText(before, after) };
}

/**
 * Refuses changes of the operator's settings to a caller that is limited to a user: maxima, and the labels
 * and metadata that agents are bound by.
 *
 * @throws SidekeyError `scope_missing`
 */
export function assertOwnSettings(wanted: object, { name: who, user: limited }: Caller): void {
  const userSettings = ['expires', 'ttl', 'lease_ttl', 'scopes'];
  const beyond =
    limited === null ? undefined : Object.keys(wanted).find((each) => !userSettings.includes(each));
  if (beyond === undefined) return;
  throw new SidekeyError('scope_missing', `${who} cannot change ${beyond}: an operator decides it.`);
}

/** Members of an answer. Times are ISO 8601, spans are seconds. */
export const settingsMembers = {
  expires_at: timeOrNull.describe('End of the grant itself.'),
  default_ttl: z.number().nullable(),
  max_ttl: z.number().nullable(),
  default_lease_ttl: z.number().nullable(),
  max_lease_ttl: z.number().nullable(),
  labels: z.array(z.string()),
  metadata: z.record(z.string(), z.string()),
};

export function settingsAnswer(policy: GrantSettings) {
  return {
    expires_at: isoOrNull(policy.expiresAt),
    default_ttl: secondsOrNull(policy.defaultTtlMs),
    max_ttl: secondsOrNull(policy.maxTtlMs),
    default_lease_ttl: secondsOrNull(policy.leaseDefaultMs),
    max_lease_ttl: secondsOrNull(policy.leaseMaxMs),
    labels: [...policy.labels],
    metadata: { ...policy.metadata },
  };
}

/**
 * Changed values for the audit log: `max_lease_ttl 3600 (was null)`. Spans are seconds, as in answers. Omits
 * metadata values, because the log is in the clear.
 */
function changeText(before: GrantSettings, after: GrantSettings): string {
  const was: Readonly<Record<string, unknown>> = settingsAnswer(before);
  return Object.entries(settingsAnswer(after))
    .map(([key, value]) => [key, JSON.stringify(value), JSON.stringify(was[key])])
    .filter(([, now, then]) => now !== then)
    .map(([key, now, then]) => (key === 'metadata' ? key : `${key} ${now} (was ${then})`))
    .join(', ');
}

function secondsOrNull(milliseconds: number | null): number | null {
  return milliseconds === null ? null : milliseconds / 1_000;
}
