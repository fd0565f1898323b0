import { randomUUID } from 'node:crypto';
import { audited } from '../../audit/audited.ts';
import { SidekeyError } from '../../errors.ts';
import type { Grant } from '../../grants/grant.ts';
import type { GrantedTtl } from '../../grants/lease.ts';
import { hashToken } from '../../proxy/agent.ts';
import type { State } from '../../state.ts';
import type { AgentRecord, GrantPolicy, LeaseRecord } from '../../store/rights.ts';
import { grantReference, namedGrant } from '../agent/bindings.ts';
import { pickAgent, unknownAgent } from '../agent/pick.ts';
import { newSecret } from '../agent/token.ts';
import { ownGrants } from './own-grants.ts';
import { ttlFor } from './ttl.ts';

/** What a lease is to be; checked, and its spans in milliseconds. */
export interface LeaseOrder {
  readonly agent: string;
  /** As `--grant` names them; null: all that the agent reaches, what comes later too. */
  readonly grants: readonly string[] | null;
  readonly purpose: string;
  /** Null: whatever is usual. */
  readonly ttlMs: number | null;
  readonly idleMs: number | null;
  readonly maxUses: number | null;
  /** Its token, where that was made before. */
  readonly secret?: string;
}

/** A lease that was made, and its token, which is nowhere else. */
export interface MadeLease {
  readonly lease: LeaseRecord;
  readonly secret: string;
  /** Those that it reaches now. */
  readonly grants: readonly Grant[];
  readonly policies: readonly GrantPolicy[];
  readonly ttl: GrantedTtl;
}

/** Leases whose time was over so long ago are forgotten. */
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
      hint: `sidekey agent enable ${agent.name}`,
    });
  }
  const all = await state.grants.list();
  const reached = ownGrants({ agent: agent.name, grants: null }, all, rights);
  const grants = order.grants === null ? reached : chosenOf(agent, order.grants, all, reached);
  // Without any grant nothing says how long is usual.
  const ttlMs = grants.length === 0 ? (order.ttlMs ?? config.leases.defaultTtlMs) : order.ttlMs;
  const ttl = ttlFor(ttlMs, grants, { config, policies: rights.policies });
  const lease: LeaseRecord = {
    id: randomUUID(),
    agent: agent.name,
    tokenHash: hashToken(secret),
    grants: order.grants === null ? null : grants.map(({ id }) => id),
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
  await audited(audit, event, async () => {
    if (!(await store.leases.insert(lease))) throw unknownAgent(agent.name, []);
  });
  await store.leases.removeEnded(at - forgetAfterMs);
  return { lease, secret, grants, policies: rights.policies, ttl };
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
