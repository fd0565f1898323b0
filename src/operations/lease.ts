import { z } from 'zod';
import { egressHosts } from '../agents/egress.ts';
import { leaseEnded } from '../agents/permissions.ts';
import { recordChange } from '../audit/log.ts';
import type { AuditEvent } from '../domain/event.ts';
import type { Grant } from '../domain/grant.ts';
import { isLeaseFor, type Lease, leaseStanding } from '../domain/lease.ts';
import { type CredentialEntry, readEntries } from '../grants/credential-input.ts';
import { SidekeyError } from '../lib/errors.ts';
import { hintOf, remedy } from '../lib/hint.ts';
import { optional, visible } from '../lib/text.ts';
import type { LeaseChoice, LeaseQuery } from '../store/store.ts';
import { findAgent, findLease, findNamedGrant } from './find.ts';
import { duration, egress, grants, membersOf, name, named, text, time, timeOrNull, uses } from './members.ts';
import { proxyUrl } from './format.ts';
import { whatEndsBefore } from './lease-terms.ts';
import { finishEndedLeases } from './lease-end.ts';
import { makeLease } from './make-lease.ts';
import { changing, type Changing, type Opened, reading } from './operation.ts';
import { grantReference } from './lookup.ts';
import { pageInput, pageOf } from './paging.ts';
import { whyTokenStays } from './provider-revocation.ts';
import { grantsById, leaseTtl, readReach } from './reach.ts';

/** Leases: temporary permissions of agents. */

const texts = z.array(z.string());

const members = {
  id: z.uuid(),
  agent: z.string(),
  grants: texts.nullable().describe('IDs; null: all that its agent reaches.'),
  egress: texts.nullable().describe('Hosts without a credential; null: those of its agent.'),
  purpose: z.string(),
  state: z.enum(['active', 'expired', 'used_up', 'revoked']),
  expires_at: time,
  ends_at: timeOrNull,
  expires_in: z.int(),
  idle: z.number().nullable(),
  max_uses: z.int().nullable(),
  uses: z.int().nullable(),
  used_at: timeOrNull,
  renewed_at: timeOrNull,
  revoked_at: timeOrNull,
  created_at: time,
};

function leaseAnswer(lease: Lease, now: number): z.input<z.ZodObject<typeof members>> {
  const standing = leaseStanding(lease, now);
  return membersOf(members, {
    ...lease,
    egress: lease.egress ?? null,
    state: standing.state,
    endsAt: standing.state === 'active' ? standing.endsAt : null,
    expiresIn: Math.max(0, Math.floor((lease.expiresAt - now) / 1_000)),
    idle: lease.idleMs === null ? null : lease.idleMs / 1_000,
    uses: lease.maxUses === null ? null : lease.uses,
  });
}

/** Leases among which those that have ended are counted, for a hint. */
const maxCounted = 100;

export const listLeases = reading({
  id: 'lease.list',
  summary: 'List the active leases; with `all` also those that have ended.',
  scope: 'access:read',
  input: z.strictObject({
    agent: name.optional(),
    grant: text.optional(),
    all: z.boolean().optional(),
    ...pageInput,
  }),
  output: z.array(named('Lease', members)),
  async run({ store }, { agent, grant, all = false, ...page }, at) {
    const grantId = grant === undefined ? null : (await findNamedGrant(store, grant)).id;
    const isChosen = (lease: Lease) => grantId === null || isLeaseFor(lease, grantId);
    const isActive = (lease: Lease) => leaseStanding(lease, at).state === 'active';
    const read = async (query: LeaseQuery) => (await store?.leases.find(query)) ?? [];
    const { rows: leases, next } = await pageOf(page, {
      place: z.object({ expiresAt: z.int(), id: z.string() }),
      read: (query) => read({ ...query, agent, ...(all ? {} : { endsAfter: at }) }),
      fits: (lease) => isChosen(lease) && (all || isActive(lease)),
    });
    const ids = leases.flatMap((lease) => lease.grants ?? []);
    const grants = store === null ? [] : await grantsById(store, ids);
    const firsts = all ? [] : (await read({ agent, limit: maxCounted })).filter(isChosen);
    const hidden = firsts.filter((lease) => !isActive(lease)).length;
    // Counted for the next step of a person without leases.
    const hasLeases = leases.length > 0 || (await read({ limit: 1 })).length > 0;
    const agents = hasLeases ? null : ((await store?.agents.inList(at, { limit: 1 }))?.length ?? 0);
    const isCounted = firsts.length < maxCounted;
    return { leases, grants, hidden, isCounted, agents, next };
  },
  next: ({ next }) => next,
  answer: ({ leases }, at) => leases.map((lease) => leaseAnswer(lease, at)),
});

export const getLease = reading({
  id: 'lease.get',
  summary: 'Show a lease.',
  scope: 'access:read',
  input: z.strictObject({ lease: text }),
  output: named('LeaseInFull', { ...members, warnings: texts }),
  async run({ store }, { lease: id }, at) {
    const lease = await findLease(store, id);
    const { grants } = await readReach(store!, lease);
    const isActive = leaseStanding(lease, at).state === 'active';
    const warnings = isActive ? whatEndsBefore(lease.expiresAt, grants, at) : [];
    return { lease, grants, warnings };
  },
  answer: ({ lease, warnings }, at) => ({ ...leaseAnswer(lease, at), warnings }),
});

const maxPurposeLength = 200;
const purposeLength = `is empty, or longer than ${maxPurposeLength} characters`;

/** Credentials of an input, read with the clock of the operation: an `expires_in` counts from it. */
const credentials = optional(
  z.array(z.strictObject({ provider: name, name: name.optional(), credential: z.looseObject({}) })).min(1),
  'Credentials that only this lease may use. They are not verified, and end with it.',
).transform(
  (entries) =>
    (now: () => number): readonly CredentialEntry[] =>
      entries === undefined
        ? []
        : readEntries(
            JSON.stringify(entries.map(({ credential, ...entry }) => ({ ...credential, ...entry }))),
            { now },
          ),
);

export const createLease = changing({
  id: 'lease.create',
  summary: 'Let an agent use grants for a while. The answer has the token, once.',
  scope: 'access:write',
  input: z.strictObject({
    agent: name,
    grants,
    credentials,
    egress,
    purpose: z
      .string()
      .trim()
      .min(1, purposeLength)
      .max(maxPurposeLength, purposeLength)
      .refine((purpose) => visible(purpose) === purpose, 'has control characters'),
    ttl: duration.optional(),
    idle: duration.optional(),
    max_uses: uses.optional(),
  }),
  output: named('CreatedLease', {
    ...members,
    token: z.string().describe('Shown only once.'),
    proxy_url: z.string(),
    capped_by: z.string().nullable(),
    warnings: texts,
  }),
  check(input, at) {
    egressHosts(input.egress ?? []);
    const entries = input.credentials(() => at);
    if (input.grants !== undefined || entries.length > 0) return;
    throw new SidekeyError('input_invalid', 'The lease has neither a grant nor a credential of its own.', {
      hint: '--grant GRANT, or --credentials FILE',
    });
  },
  async run(parts, input, at) {
    const order = {
      agent: input.agent,
      grants: input.grants ?? [],
      credentials: input.credentials(() => at),
      purpose: input.purpose,
      ...(input.egress === undefined ? {} : { egress: egressHosts(input.egress) }),
      ttlMs: input.ttl ?? null,
      idleMs: input.idle ?? null,
      maxUses: input.max_uses ?? null,
    };
    const made = await makeLease(parts, order, at);
    const { grants: reached } = made.reach;
    const ending = whatEndsBefore(made.lease.expiresAt, reached, at);
    const warnings = [...ending, ...(await whatStaysAfter(parts, reached))];
    const url = proxyUrl(parts.config.proxy.listen, `${made.lease.agent}:${made.secret}`);
    return { ...made, grants: reached, url, warnings };
  },
  answer: ({ lease, secret, url, ttl, warnings }, at) => ({
    ...leaseAnswer(lease, at),
    token: secret,
    proxy_url: url,
    capped_by: ttl.cappedBy,
    warnings,
  }),
});

/** Sentences about tokens that `leases.revoke` does not end with the lease. */
async function whatStaysAfter({ config, grants }: Opened, reached: readonly Grant[]): Promise<string[]> {
  if (!config.leases.revokesTokens) return [];
  const sentences: string[] = [];
  for (const grant of reached) {
    const opened = await grants.open(grant.id);
    const why = opened === null ? null : whyTokenStays(opened, config.providers.get(grant.provider));
    if (why !== null)
      sentences.push(`The token of ${grantReference(grant)} stays valid after the lease. ${why}`);
  }
  return sentences;
}

/** Sets a new end, never an earlier one. An expired lease becomes valid again without its approvals. */
export const renewLease = changing({
  id: 'lease.renew',
  summary: 'Give a lease a new end, counted from now.',
  scope: 'access:write',
  input: z.strictObject({ lease: text, ttl: duration.optional(), uses: uses.optional() }),
  output: named('RenewedLease', { ...members, capped_by: z.string().nullable(), warnings: texts }),
  async run({ store, audit, config }, input, at) {
    const before = await findLease(store, input.lease);
    if (before.revokedAt !== null) throw leaseEnded(before, { state: 'revoked', at: before.revokedAt });
    if (input.uses !== undefined && before.maxUses === null) {
      throw new SidekeyError('input_invalid', 'The lease has no maximum of uses, so --uses has no effect.', {
        hint: remedy('lease.renew', { lease: input.lease }),
      });
    }
    const reach = await readReach(store, before);
    const { grants } = reach;
    if (grants.length === 0 && before.grants !== null) {
      throw new SidekeyError('grant_missing', 'All grants of the lease were removed.', {
        hint: remedy('lease.create', { agent: before.agent, grants: null, purpose: null }),
      });
    }
    const ttl = await leaseTtl({ store, config }, input.ttl ?? null, before, reach);
    const expiresAt = Math.max(before.expiresAt, at + ttl.ttlMs);
    const event = { event: 'lease.renewed', agent: before.agent, lease: before.id } as const;
    const lease = await recordChange(audit, event, async () => {
      const renewed = await store.leases.renew(before.id, { at, expiresAt, moreUses: input.uses ?? 0 });
      if (renewed === null) throw leaseEnded(before, { state: 'revoked', at });
      return renewed;
    });
    return { lease, ttl, warnings: whatEndsBefore(lease.expiresAt, grants, at) };
  },
  answer: ({ lease, ttl, warnings }, at) => ({
    ...leaseAnswer(lease, at),
    capped_by: ttl.cappedBy,
    warnings,
  }),
});

const revocation = {
  scope: 'access:write',
  output: z.strictObject({ revoked: texts }),
  answer: (ids: readonly string[]) => ({ revoked: [...ids] }),
} as const;

export const revokeLease = changing({
  ...revocation,
  id: 'lease.revoke',
  summary: 'End a lease, from the next request on.',
  input: z.strictObject({ lease: text }),
  async run(parts, { lease: id }, at) {
    const { id: lease, agent } = await findLease(parts.store, id);
    return revoke(parts, { id: lease }, { agent, lease }, at);
  },
});

export const revokeLeases = changing({
  ...revocation,
  id: 'lease.revokeAll',
  summary: 'End all leases of an agent, or all for a grant.',
  input: z.strictObject({ agent: name.optional(), grant: text.optional() }),
  check({ agent, grant }) {
    if ((agent === undefined) === (grant === undefined)) throw unclearChoice();
  },
  async run(parts, input, at) {
    if (input.agent !== undefined) {
      const { name: agent } = await findAgent(parts.store, input.agent);
      return revoke(parts, { agent }, { agent }, at);
    }
    const { id: grant } = await findNamedGrant(parts.store, input.grant ?? '');
    return revoke(parts, { grant }, { grant }, at);
  },
});

/** Error for leases to revoke that are named in no way, or in several. */
export function unclearChoice(): SidekeyError {
  return new SidekeyError('input_invalid', 'Name one lease, or all leases of an agent or a grant.', {
    hint: hintOf`${remedy('lease.revoke', { lease: null })}, ${remedy('lease.revokeAll', { agent: null })}, or ${remedy('lease.revokeAll', { grant: null })}`,
  });
}

async function revoke(
  parts: Changing,
  choice: LeaseChoice,
  event: Partial<AuditEvent>,
  at: number,
): Promise<readonly string[]> {
  const ids = await recordChange(parts.audit, { event: 'lease.revoked', ...event }, () =>
    parts.store.leases.revoke(choice, at),
  );
  await finishEndedLeases(parts, { of: ids });
  return ids;
}
