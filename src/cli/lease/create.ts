import { randomUUID } from 'node:crypto';
import { hashToken } from '../../agents/authentication.ts';
import {
  type GrantedTtl,
  grantedTtl,
  isLeaseFor,
  type Lease,
  leaseStanding,
  type LeaseTtlLevel,
  placeOf,
  places,
  reachesGrant,
} from '../../domain/lease.ts';
import type { State } from '../../app/state.ts';
import { recordChange } from '../../audit/log.ts';
import { egressHosts } from '../agent/bindings.ts';
import { newSecret } from '../agent/tokens.ts';
import type { Context } from '../context.ts';
import { isoOrNull, isoTime, proxyUrl, readSpan, relativeTime, spanText } from '../format.ts';
import { grantReference, namedGrant, pickAgent, unknownAgent } from '../pick.ts';
import type { Config } from '../../config/config.ts';
import { type Grant, stateNow } from '../../domain/grant.ts';
import { SidekeyError } from '../../lib/errors.ts';
import { visible } from '../../lib/text.ts';
import type { AgentRecord, GrantPolicy, LeaseRecord, Rights } from '../../store/store.ts';
import { type OwnCredential, readOwnCredentials, storeOwnCredentials } from './own-credentials.ts';

export interface CreateOptions {
  readonly agent: string;
  readonly grant?: readonly string[];
  /** A file with credentials of the lease's own; `-`: standard input. */
  readonly credentials?: string;
  readonly purpose: string;
  readonly ttl?: string;
  readonly idle?: string;
  readonly maxUses?: string;
  /** Hosts without a credential to which it is limited. */
  readonly egress?: readonly string[];
}

const maxPurposeLength = 200;

/** `sidekey lease create`: prints the token, which cannot be retrieved later. */
export async function createLease(context: Context, options: CreateOptions): Promise<void> {
  const { withState, output, now } = context;
  const at = now();
  const order = {
    id: randomUUID(),
    agent: options.agent,
    grants: options.grant ?? [],
    purpose: readPurpose(options.purpose),
    ...(options.egress === undefined ? {} : { egress: egressHosts(options.egress) }),
    ttlMs: options.ttl === undefined ? null : readSpan('--ttl', options.ttl),
    idleMs: options.idle === undefined ? null : readSpan('--idle', options.idle),
    maxUses: options.maxUses === undefined ? null : readUses('--max-uses', options.maxUses),
  };
  const own = await readOwnCredentials(context, order.id, options.credentials);
  if (order.grants.length === 0 && own.length === 0) {
    throw new SidekeyError('input_invalid', 'The lease has neither a grant nor a credential of its own.', {
      hint: '--grant GRANT, or --credentials FILE',
    });
  }
  const { lease, secret, grants, policies, ttl, listen } = await withState(async (state) => {
    const made = await makeLease(state, { ...order, own }, at);
    await storeOwnCredentials(state, made.lease, own, at);
    return { ...made, listen: state.config.proxy.listen };
  });
  const warnings = whatEndsBefore(lease.expiresAt, grants, policies, at);
  const url = proxyUrl(listen, `${lease.agent}:${secret}`);
  output.result(
    { ...leaseJson(lease, at), token: secret, proxy_url: url, capped_by: ttl.cappedBy, warnings },
    `HTTPS_PROXY=${url}`,
  );
  const capped = cappedText(ttl, options.ttl);
  output.say(
    [
      `Copy the token of the lease ${lease.id} from that line now: it is shown only once.`,
      leaseClockText(lease, at),
      ...(capped === null ? [] : [capped]),
      ...warnings,
    ].join('\n'),
  );
}

/** @throws SidekeyError `input_invalid` */
export function readUses(option: string, text: string): number {
  if (/^[1-9][0-9]{0,8}$/.test(text)) return Number(text);
  throw new SidekeyError('input_invalid', `${option} is not a number of requests.`, {
    hint: `a number from 1: ${option} 10`,
  });
}

function readPurpose(text: string): string {
  const purpose = text.trim();
  if (purpose !== '' && purpose.length <= maxPurposeLength && visible(purpose) === purpose) return purpose;
  throw new SidekeyError('input_invalid', 'The purpose is empty, too long, or has control characters.', {
    hint: `describe the purpose in up to ${maxPurposeLength} characters: --purpose "nightly report"`,
  });
}

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
  /** Its id, if it is known already. */
  readonly id?: string;
  /** Credentials that only this lease may use, and that end with it. */
  readonly own?: readonly OwnCredential[];
}

/** A new lease with its token. */
export interface MadeLease {
  readonly lease: LeaseRecord;
  readonly secret: string;
  /** Grants that it reaches now. */
  readonly grants: readonly Grant[];
  /** See `usualGrants`. */
  readonly usual: readonly Grant[];
  readonly policies: readonly GrantPolicy[];
  readonly ttl: GrantedTtl;
}

/** Milliseconds after which an ended lease is deleted. */
const forgetAfterMs = 90 * 86_400_000;

/**
 * Makes a lease, audited first.
 *
 * @param at milliseconds since the epoch
 * @throws SidekeyError `not_found`, `input_invalid`, `grant_missing`, `grant_ambiguous`, `audit_unavailable`
 */
export async function makeLease(
  { store, audit, config, ...state }: Pick<State, 'store' | 'audit' | 'config' | 'grants'>,
  order: LeaseOrder,
  at: number,
): Promise<MadeLease> {
  const secret = order.secret ?? newSecret('lease');
  const rights = await store.rights.read();
  const agent = pickAgent(rights.agents, order.agent);
  if (agent.disabledAt !== null) {
    throw new SidekeyError('input_invalid', `The agent ${agent.name} is disabled.`, {
      hint: `sidekey agent set ${agent.name} --enable`,
    });
  }
  const all = await state.grants.list();
  const reached = ownGrants({ agent: agent.name, grants: null }, all, rights);
  const grants = order.grants === null ? reached : chosenOf(agent, order.grants, all, reached);
  const owned = (order.own ?? []).map(({ id, wanted }) => ({ ...wanted, id }));
  const id = order.id ?? randomUUID();
  const named = order.grants === null ? null : [...grants, ...owned].map((grant) => grant.id);
  const usual = usualGrants({ id, agent: agent.name, grants: named }, grants, rights);
  const ttl = ttlFor(order.ttlMs, [...grants, ...owned], { config, policies: rights.policies }, [
    ...usual,
    ...owned,
  ]);
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
  const reach = lease.grants?.join(', ') ?? 'all that the agent reaches';
  const event = {
    event: 'lease.created',
    agent: agent.name,
    lease: lease.id,
    grant: only,
    reason: only === undefined ? `${order.purpose} (for ${reach})` : order.purpose,
  } as const;
  await recordChange(audit, event, async () => {
    if (!(await store.leases.insert(lease))) throw unknownAgent(agent.name, []);
  });
  await store.leases.removeEnded(at - forgetAfterMs);
  return { lease, secret, grants, usual, policies: rights.policies, ttl };
}

function chosenOf(
  agent: AgentRecord,
  named: readonly string[],
  all: readonly Grant[],
  reached: readonly Grant[],
): readonly Grant[] {
  const chosen = [...new Set(named.map((text) => namedGrant(all, text)))];
  const beyond = chosen.find((grant) => !reached.includes(grant));
  if (beyond === undefined) return chosen;
  const name = grantReference(beyond);
  throw new SidekeyError('grant_missing', `The agent ${agent.name} does not reach the grant ${name}.`, {
    hint: `sidekey agent bind ${agent.name} --grant ${name}`,
  });
}

/**
 * Returns the grants of a lease; for a lease without a list, those that its agent reaches now.
 *
 * @param rights null: there is no store, so nothing is reachable
 */
export function ownGrants(
  lease: Pick<Lease, 'agent' | 'grants'>,
  grants: readonly Grant[],
  rights: Rights | null,
): Grant[] {
  if (lease.grants !== null) return grants.filter(({ id }) => isLeaseFor(lease, id));
  const { user, bindings, labelsOf } = agentRights(lease.agent, rights);
  return grants.filter((grant) => reachesGrant(bindings, user, grant, labelsOf(grant)));
}

/** Returns the reached grants of a lease that a request without a selected user may get, in the order of `placeOf`. */
export function usualGrants(
  lease: Pick<Lease, 'id' | 'agent' | 'grants'>,
  reached: readonly Grant[],
  rights: Rights,
): Grant[] {
  const { labelsOf, ...agent } = agentRights(lease.agent, rights);
  const inTurn = Map.groupBy(reached, (grant) => placeOf(grant, labelsOf(grant), { ...agent, lease }));
  return places.flatMap((place) => inTurn.get(place) ?? []);
}

function agentRights(agent: string, rights: Rights | null) {
  const labels = new Map(rights?.policies.map((policy) => [policy.grantId, policy.labels]));
  return {
    user: rights?.agents.find(({ name }) => name === agent)?.user ?? null,
    bindings: rights?.bindings.filter((each) => each.agent === agent) ?? [],
    labelsOf: ({ id }: Grant) => labels.get(id) ?? [],
  };
}

/** Sentences about grants and tokens that end before the lease; none where the lease ends first. */
export function whatEndsBefore(
  expiresAt: number,
  grants: readonly Grant[],
  policies: readonly GrantPolicy[],
  now: number,
): string[] {
  return grants.flatMap((grant) => {
    const name = grantReference(grant);
    const state = stateNow(grant, now);
    if (state !== 'active')
      return [`The grant ${name} is ${state.replace('_', ' ')}: the lease cannot use it now.`];
    const end = policies.find(({ grantId }) => grantId === grant.id)?.expiresAt ?? null;
    return [
      ...(end !== null && end < expiresAt
        ? [
            end <= now
              ? `The grant ${name} expired ${relativeTime(end, now)}: the lease cannot use it now.`
              : `The lease outlives the grant ${name}, which ends ${relativeTime(end, now)}.`,
          ]
        : []),
      ...(!grant.refreshable && grant.expiresAt !== null && grant.expiresAt < expiresAt
        ? [
            `The lease outlives the token of ${name}, which ends ${relativeTime(grant.expiresAt, now)} and cannot be refreshed.`,
          ]
        : []),
    ];
  });
}

interface TtlFacts {
  readonly config: Pick<Config, 'leases' | 'providers'>;
  readonly policies: readonly GrantPolicy[];
}

type LeasedGrant = Pick<Grant, 'id' | 'name' | 'user' | 'provider'>;

/**
 * Lifetime of a lease for these grants; `asked` in milliseconds, null: the default of the usual ones. A user sets the default
 * of a grant, so it does not count for others.
 */
export function ttlFor(
  asked: number | null,
  grants: readonly LeasedGrant[],
  facts: TtlFacts,
  usual: readonly LeasedGrant[] = grants,
): GrantedTtl {
  const levels = (grant: LeasedGrant) => levelsOf(grant, facts);
  const wanted = asked ?? (usual.length === 0 ? facts.config.leases.defaultTtlMs : null);
  return grantedTtl(wanted, grants.map(levels), usual.map(levels));
}

/** Sentence about a lease that is shorter than requested; null: it is not. */
export function cappedText({ ttlMs, cappedBy }: GrantedTtl, asked: string | undefined): string | null {
  if (cappedBy === null) return null;
  const wanted = asked === undefined ? 'the usual time' : asked;
  return `It lasts ${spanText(ttlMs)} instead of ${wanted}, the maximum of ${cappedBy}.`;
}

function levelsOf(grant: LeasedGrant, { config, policies }: TtlFacts): LeaseTtlLevel[] {
  const policy = policies.find(({ grantId }) => grantId === grant.id);
  const provider = config.providers.get(grant.provider);
  const { defaultTtlMs, maxTtlMs } = config.leases;
  return [
    {
      of: `the grant ${grantReference(grant)}`,
      defaultMs: policy?.leaseDefaultMs ?? null,
      maxMs: policy?.leaseMaxMs ?? null,
    },
    { of: `the provider ${grant.provider}`, ...(provider?.lease ?? { defaultMs: null, maxMs: null }) },
    { of: 'leases.max_ttl of the config', defaultMs: defaultTtlMs, maxMs: maxTtlMs },
  ];
}

/** `active`, `expired`, `expired (idle)`, `used up`, `revoked`. */
export function leaseStateText(lease: Lease, now: number): string {
  const standing = leaseStanding(lease, now);
  return standing.state === 'expired' && standing.why === 'idle'
    ? 'expired (idle)'
    : standing.state.replace('_', ' ');
}

/** Time at which it ends, or ended. */
export function leaseEndText(lease: Lease, now: number): string {
  const standing = leaseStanding(lease, now);
  switch (standing.state) {
    case 'active':
      return relativeTime(standing.endsAt, now);
    case 'expired':
    case 'revoked':
      return relativeTime(standing.at, now);
    case 'used_up':
      return 'used up';
  }
}

/** `3 of 10`; `-` where uses are not counted. */
export function usesText({ uses, maxUses }: Lease): string {
  return maxUses === null ? '-' : `${uses} of ${maxUses}`;
}

/** Names of its grants, or a text for all grants. */
export function leaseGrantsText(lease: Lease, grants: readonly Grant[]): string {
  if (lease.grants === null) return `all that ${lease.agent} reaches`;
  return lease.grants
    .map((id) => {
      const grant = grants.find((each) => each.id === id);
      return grant === undefined ? '(removed)' : grantReference(grant);
    })
    .join(', ');
}

/** A lease for programs. Times are ISO 8601, spans are seconds; `grants` null: all that its agent reaches. */
export function leaseJson(lease: Lease, now: number): Readonly<Record<string, unknown>> {
  const standing = leaseStanding(lease, now);
  return {
    id: lease.id,
    agent: lease.agent,
    grants: lease.grants,
    egress: lease.egress ?? null,
    purpose: lease.purpose,
    state: standing.state,
    expires_at: isoTime(lease.expiresAt),
    ends_at: isoOrNull(standing.state === 'active' ? standing.endsAt : null),
    expires_in: Math.max(0, Math.floor((lease.expiresAt - now) / 1_000)),
    idle: lease.idleMs === null ? null : lease.idleMs / 1_000,
    max_uses: lease.maxUses,
    uses: lease.maxUses === null ? null : lease.uses,
    used_at: isoOrNull(lease.usedAt),
    renewed_at: isoOrNull(lease.renewedAt),
    revoked_at: isoOrNull(lease.revokedAt),
    created_at: isoTime(lease.createdAt),
  };
}

/** The clocks of a lease as one sentence. */
export function leaseClockText({ expiresAt, idleMs, maxUses }: Lease, now: number): string {
  return [
    `It ends ${relativeTime(expiresAt, now)}`,
    ...(idleMs === null ? [] : [`when it is not used for ${spanText(idleMs)}`]),
    ...(maxUses === null ? [] : [`after ${maxUses === 1 ? 'one request' : `${maxUses} requests`}`]),
  ]
    .join(', or ')
    .concat('.');
}
