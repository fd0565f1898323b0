import { z } from 'zod';
import { accountOf } from '../domain/credential.ts';
import { grantGone } from '../grants/keep.ts';
import { readScopes } from '../grants/oauth/scopes.ts';
import { describeSource } from '../grants/sources/source.ts';
import { caughtFailure, SidekeyError } from '../lib/errors.ts';
import { hintOf, remedy } from '../lib/hint.ts';
import { createFingerprint } from '../proxy/schemes/apply.ts';
import { grantOf } from '../store/grants.ts';
import type { GrantRecord } from '../store/store.ts';
import { isoOrNull, isoTime } from './format.ts';
import {
  account,
  accountDetails,
  certificate,
  certificateAnswer,
  grantAnswer,
  grantMembers,
  renewedBy,
  soonEndOf,
} from './grant-answer.ts';
import { clockAnswer, clockMembers, clocksOf } from './grant-clocks.ts';
import { boundKeyOf, clientOf, lackedBy, maxReaching, reachedBy } from './grant-facts.ts';
import {
  assertOwnSettings,
  changeSettings,
  settingsAnswer,
  settingsChange,
  settingsInput,
  settingsMembers,
  settingsOf,
} from './grant-settings.ts';

import { findDomains, findGrant } from './find.ts';
import { grantOwner, named, text, texts, timeOrNull, userName } from './members.ts';
import { policiesOf } from './lease-terms.ts';
import { pageInput, pageOf } from './paging.ts';
import { narrowGrant } from './narrow-grant.ts';
import { changing, type Reading, reading } from './operation.ts';

/** Grants: stored authorizations, each of one account at one provider, for one user. */

/** Maximum minted grants in an answer. */
const mostMinted = 1_000;

/** Returns the minted grants of up to 1,000 grants, by the ID of their parent. */
async function mintedBy(store: Reading['store'], parents: readonly string[]) {
  const records = (await store?.grants.minted({ parents, limit: mostMinted })) ?? [];
  return Map.groupBy(records, ({ parent }) => parent);
}

const mintedAnswer = (records: readonly GrantRecord[] = []) =>
  records.map(({ id, name, expiresAt }) => ({ id, name, expires_at: isoOrNull(expiresAt) }));

const minted = z
  .array(z.strictObject({ id: z.uuid(), name: z.string(), expires_at: timeOrNull }))
  .describe(`Credentials that responses to requests with the grant contained, at most ${mostMinted}.`);

export const listGrants = reading({
  id: 'grant.list',
  summary: 'List the grants.',
  scope: 'grants:read',
  input: z.strictObject({
    user: userName.optional().describe('Only the grants of this owner.'),
    start: text.optional().describe('Begin at the first grant with this name or a later one.'),
    all: z.boolean().optional().describe('True: also the minted grants, which belong to another grant.'),
    ...pageInput,
  }),
  output: z.array(
    named('GrantInList', {
      ...grantMembers,
      minted,
      account,
      used_at: timeOrNull,
      grant_expires_at: timeOrNull,
    }),
  ),
  async run({ caller, store, ...parts }, input, at) {
    const user = caller.user ?? input.user;
    // Users have names of one character or more.
    const first = input.start === undefined ? undefined : { name: input.start, user: '' };
    const { rows, next } = await pageOf(input, {
      place: z.object({ name: z.string(), user: z.string() }),
      read: async ({ after = first, ...page }) =>
        (await store?.grants.find({
          ...page,
          after,
          unminted: input.all !== true,
          ...(user === undefined ? {} : { users: [user] }),
        })) ?? [],
    });
    const ids = rows.map(({ id }) => id);
    const children = await mintedBy(store, ids);
    const uses = (await store?.activity.some(ids)) ?? [];
    const activity = new Map(uses.map((each) => [each.grantId, each]));
    const policies = store && (await policiesOf(store, rows));
    const { accounts, locked } = await accountsOf(parts, rows);
    const entries = rows.map(grantOf).map((grant) => ({
      grant,
      minted: children.get(grant.id) ?? [],
      policy: policies?.get(grant.id) ?? null,
      account: accounts.get(grant.id) ?? null,
      usedAt: activity.get(grant.id)?.usedAt ?? null,
      soonEnd: soonEndOf(grant, parts.config.providers.get(grant.provider), at),
    }));
    return { entries, locked, next };
  },
  next: ({ next }) => next,
  answer: ({ entries }, at) =>
    entries.map(({ grant, policy, account: of, usedAt, ...entry }) => ({
      ...grantAnswer(grant, at, policy),
      minted: mintedAnswer(entry.minted),
      account: of,
      used_at: isoOrNull(usedAt),
      grant_expires_at: isoOrNull(policy?.expiresAt ?? null),
    })),
});

/** Returns account names by id of readable grants, and the failure of the master key (null: none). */
async function accountsOf(parts: Pick<Reading, 'registry'>, records: readonly GrantRecord[]) {
  const accounts = new Map<string, string>();
  // The list works without a key, so that it helps to diagnose a failure of the key.
  const registry = await parts.registry().catch(caughtFailure);
  if (registry instanceof SidekeyError) return { accounts, locked: registry };
  for (const record of registry === null ? [] : records) {
    const opened = await registry?.openRecord(record).catch(() => null);
    const of = accountOf(opened?.sealed.details);
    if (of !== null) accounts.set(record.id, of);
  }
  return { accounts, locked: null };
}

export const getGrant = reading({
  id: 'grant.get',
  summary: 'Show a grant, without its secret.',
  scope: 'grants:read',
  input: z.strictObject({ grant: text, user: grantOwner }),
  output: named('Grant', {
    ...grantMembers,
    minted,
    lacked_scopes: z.unknown(),
    ...clockMembers,
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
      agents: z
        .array(z.strictObject({ name: z.string(), state: z.string() }))
        .describe(`At most ${maxReaching}.`),
      active_leases: z
        .array(z.strictObject({ id: z.string(), agent: z.string() }))
        .describe(`At most ${maxReaching}.`),
    }),
    certificate,
  }),
  async run({ caller, config, store, ...parts }, { grant: reference, user }, at) {
    const { id } = await findGrant(store, { grant: reference, user }, caller);
    const [vault, registry] = await Promise.all([parts.vault(), parts.registry()]);
    const opened = (await registry?.read(id)) ?? null;
    if (vault === null || opened === null) throw grantGone();
    const { grant, sealed } = opened;
    const { credential } = sealed;
    const provider = config.providers.get(grant.provider);
    const activity = (await store?.activity.get(id)) ?? null;
    const policy = (await store?.grantPolicies.get(id)) ?? null;
    const fingerprint = createFingerprint((secret) => vault.mac('credential-fingerprint', secret));
    const clockParts = { activity, dialect: provider?.dialect ?? null, tokens: config.tokens, now: at };
    return {
      grant,
      minted: (await mintedBy(store, [id])).get(id) ?? [],
      sealed,
      activity,
      provider,
      proxy: config.proxy,
      policy: settingsOf(opened, policy),
      client: clientOf(credential, provider),
      clocks: clocksOf(opened, clockParts),
      lacked: lackedBy(opened, activity, provider),
      renewed: renewedBy(credential),
      source: credential.type === 'source' ? describeSource(credential) : null,
      boundKey: boundKeyOf(credential),
      fingerprint: credential.type === 'source' ? null : fingerprint(sealed),
      domains: (await findDomains(store, config.domains, [grant]))(grant).map(({ pattern }) => pattern.text),
      reached: await reachedBy(store!, grant, at),
    };
  },
  answer: ({ grant, sealed, policy, lacked, boundKey, reached, ...facts }, at) => ({
    ...grantAnswer(grant, at, policy),
    minted: mintedAnswer(facts.minted),
    lacked_scopes: lacked && { ...lacked, at: isoTime(lacked.at) },
    ...clockAnswer(facts.clocks),
    renewed_by: facts.renewed,
    source: facts.source,
    dpop: boundKey && {
      algorithm: boundKey.algorithm,
      thumbprint: boundKey.thumbprint,
      token_bound: boundKey.isBound,
    },
    account: accountOf(sealed.details),
    account_details: { ...sealed.details },
    grant_type: facts.client.grantType,
    client_id: facts.client.id,
    ...certificateAnswer(sealed.credential),
    audience: [...sealed.audience],
    fingerprint: facts.fingerprint,
    domains: facts.domains,
    settings: settingsAnswer(policy),
    reached_by: {
      agents: reached.agents.map(({ name: agent, disabledAt }) => ({
        name: agent,
        state: disabledAt === null ? 'enabled' : 'disabled',
      })),
      active_leases: reached.leases.map(({ id, agent }) => ({ id, agent })),
    },
  }),
});

/** A grant as `grant show` prints it. */
export type ShownGrant = Awaited<ReturnType<typeof getGrant.run>>;

/** Changes either the scopes or other settings, because one of both could fail after the other. */
export const changeGrant = changing({
  id: 'grant.change',
  summary: 'Change the expiry, the lease times, the labels, the metadata or the scopes of a grant.',
  scope: 'grants:write',
  input: z.strictObject({
    grant: text,
    user: grantOwner,
    ...settingsInput,
    scopes: z.array(text).min(1).optional().describe('Those that it keeps, of the present ones.'),
  }),
  output: named('GrantSettings', {
    id: z.uuid(),
    name: z.string(),
    user: z.string(),
    scopes: texts,
    ...settingsMembers,
  }),
  check({ grant, user, scopes, ...wanted }, at) {
    const isEmpty = Object.keys(settingsChange(wanted, at)).length === 0;
    if (scopes !== undefined && !isEmpty) {
      throw new SidekeyError('input_invalid', 'The scopes are changed without other settings.', {
        hint: remedy('grant.change', { grant, user, scopes: readScopes(scopes) }),
      });
    }
    if (scopes !== undefined) readScopes(scopes);
    else if (isEmpty) {
      throw new SidekeyError('input_invalid', 'No option says what to change.', {
        hint: hintOf`${remedy('grant.change', { grant, user, expires: '30d' })}; ${remedy('grant.get', { grant, user })} shows the present values`,
      });
    }
  },
  async run(parts, { grant: reference, user, scopes, ...wanted }, at) {
    const { caller, grants, store } = parts;
    assertOwnSettings(wanted, caller);
    const picked = await findGrant(store, { grant: reference, user }, caller);
    if (scopes === undefined) await changeSettings(parts, picked, settingsChange(wanted, at), at);
    else await narrowGrant(parts, picked, readScopes(scopes));
    const opened = await grants.read(picked.id);
    if (opened === null) throw grantGone();
    const policy = settingsOf(opened, await store.grantPolicies.get(picked.id));
    return { grant: opened.grant, policy };
  },
  answer: ({ grant, policy }) => ({
    id: grant.id,
    name: grant.name,
    user: grant.user,
    scopes: [...grant.scopes],
    ...settingsAnswer(policy),
  }),
});
