import { randomUUID } from 'node:crypto';
import { hashToken, newSecret } from '../agents/authentication.ts';
import { recordChange } from '../audit/log.ts';
import type { Config } from '../config/config.ts';
import type { Grant } from '../domain/grant.ts';
import type { Lease } from '../domain/lease.ts';
import type { CredentialEntry } from '../grants/credential-input.ts';
import { keepGrant } from '../grants/keep.ts';
import { removeGrantsOfEndedLeases } from '../grants/lease-grants.ts';
import { inputInvalid, SidekeyError } from '../lib/errors.ts';
import { remedy } from '../lib/hint.ts';
import type { BoundAgent, LeaseRecord, Store } from '../store/store.ts';
import { alreadyThere, prepare, type Prepared } from './credential-entry.ts';
import { findAgent, findNamedGrant } from './find.ts';
import { ownGrants } from './lease-terms.ts';
import type { Opened } from './operation.ts';
import { grantReference, unknownAgent } from './lookup.ts';
import { leaseTtl, type Reach, readReach } from './reach.ts';

/** Checked request for a lease; spans in milliseconds. */
export interface LeaseOrder {
  readonly agent: string;
  /** Grants as in `--grant`; null: all that the agent reaches, also those added later. */
  readonly grants: readonly string[] | null;
  readonly purpose: string;
  /** See `Lease.egress`. */
  readonly egress?: readonly string[];
  /** Lifetime; null: the default. */
  readonly ttlMs: number | null;
  readonly idleMs: number | null;
  readonly maxUses: number | null;
  /** Its token, if it already exists. */
  readonly secret?: string;
  /** Credentials that only this lease may use, and that end with it. They are not verified. */
  readonly credentials?: readonly CredentialEntry[];
}

/** Milliseconds after which an ended lease is deleted. */
const forgetAfterMs = 90 * 86_400_000;

/**
 * Makes a lease, audited first.
 *
 * @param at milliseconds since the epoch
 * @throws SidekeyError `not_found`, `input_invalid`, `grant_missing`, `grant_ambiguous`, `provider_unknown`,
 *   `already_exists`, `audit_unavailable`
 */
export async function makeLease(parts: Opened, order: LeaseOrder, at: number) {
  const { store, audit, config } = parts;
  const id = randomUUID();
  const credentials = prepareCredentials(order.credentials ?? [], id, config.providers);
  const secret = order.secret ?? newSecret('lease');
  const agent = await findAgent(store, order.agent);
  if (agent.disabledAt !== null) {
    throw inputInvalid(
      `The agent ${agent.name} is disabled.`,
      remedy('agent.change', { agent: agent.name, disabled: false }),
    );
  }
  const reach =
    order.grants === null
      ? await readReach(store, { agent: agent.name, grants: null })
      : await chosenOf(store, agent, order.grants);
  const owned = credentials.map((credential) => ({ ...credential.wanted, id: credential.id }));
  const named = order.grants === null ? null : [...reach.grants, ...owned].map((grant) => grant.id);
  const ttl = await leaseTtl(
    parts,
    order.ttlMs,
    { id, agent: agent.name, grants: named },
    { ...reach, owned },
  );
  const lease: LeaseRecord = {
    id,
    agent: agent.name,
    tokenHash: hashToken(secret),
    grants: named,
    ...(order.egress === undefined ? {} : { egress: order.egress }),
    purpose: order.purpose,
    createdAt: at,
    expiresAt: at + ttl.ttlMs,
    idleMs: order.idleMs,
    renewedAt: null,
    usedAt: null,
    maxUses: order.maxUses,
    uses: 0,
    revokedAt: null,
  };
  const only = lease.grants?.length === 1 ? lease.grants[0] : undefined;
  const reached = lease.grants?.join(', ') ?? 'all that the agent reaches';
  const event = {
    event: 'lease.created',
    agent: agent.name,
    lease: lease.id,
    grant: only,
    reason: only === undefined ? `${order.purpose} (for ${reached})` : order.purpose,
  } as const;
  await recordChange(audit, event, async () => {
    if (!(await store.leases.insert(lease))) throw unknownAgent(agent.name, []);
  });
  await store.leases.removeEnded(at - forgetAfterMs);
  if (credentials.length > 0) await storeCredentials(parts, lease, credentials, at);
  return { lease, secret, reach, ttl };
}

/** @throws SidekeyError `grant_missing`, `grant_ambiguous` */
async function chosenOf(
  store: Pick<Store, 'grants'>,
  agent: BoundAgent,
  named: readonly string[],
): Promise<Reach> {
  const chosen = new Map<string, Grant>();
  for (const text of named) {
    const grant = await findNamedGrant(store, text);
    chosen.set(grant.id, grant);
  }
  const grants = [...chosen.values()];
  const reached = new Set(ownGrants({ grants: null }, grants, agent));
  const beyond = grants.find((grant) => !reached.has(grant));
  if (beyond === undefined) return { grants, isPart: false, agent };
  const name = grantReference(beyond);
  throw new SidekeyError('grant_missing', `The agent ${agent.name} does not reach the grant ${name}.`, {
    hint: remedy('agent.bind', { agent: agent.name, grants: [name] }),
  });
}

/** A credential that only one lease may use. */
interface LeaseCredential extends Prepared {
  /** ID of its grant. */
  readonly id: string;
}

/** @throws SidekeyError `input_invalid`, `provider_unknown` */
function prepareCredentials(
  entries: readonly CredentialEntry[],
  leaseId: string,
  providers: Config['providers'],
): readonly LeaseCredential[] {
  return entries.map((entry, index) => {
    const provider = entry.provider ?? entry.name;
    const name = entry.name ?? `${provider}-${leaseId.slice(0, 8)}${index === 0 ? '' : `-${index + 1}`}`;
    const prepared = prepare({ ...entry, provider }, name, {}, providers);
    if (prepared.settings === null) return { ...prepared, id: randomUUID() };
    throw inputInvalid(`The credential ${name} of a lease has metadata or a policy.`, 'leave them out');
  });
}

/**
 * Stores the credentials of a new lease. If one cannot be stored, the lease is revoked, and none remains.
 *
 * @throws SidekeyError `already_exists` for a name that is taken
 */
async function storeCredentials(
  parts: Opened,
  lease: Pick<Lease, 'id' | 'agent'>,
  credentials: readonly LeaseCredential[],
  at: number,
): Promise<void> {
  try {
    for (const { id, wanted, credential, audience } of credentials) {
      await keepGrant(
        parts,
        { wanted: { ...wanted, lease: lease.id }, sealed: { credential, audience }, newId: id },
        {
          event: 'grant.added',
          reason: `for the lease ${lease.id}`,
          keepsOut: (existing) => alreadyThere(existing, wanted),
          now: () => at,
        },
      );
    }
  } catch (error) {
    const event = { event: 'lease.revoked', agent: lease.agent, lease: lease.id } as const;
    parts.audit.note({ ...event, outcome: 'allow', reason: 'its credentials could not be stored' });
    await parts.store.leases.revoke({ id: lease.id }, at);
    throw error;
  } finally {
    await removeGrantsOfEndedLeases(parts, at, [lease.id]);
  }
}
