import { randomUUID } from 'node:crypto';
import { audited } from '../../audit/audited.ts';
import type { Config } from '../../config/config.ts';
import { SidekeyError } from '../../errors.ts';
import { reachesGrant } from '../../grants/binding.ts';
import { hashToken } from '../../proxy/agent.ts';
import type { State } from '../../state.ts';
import { pickAgent } from '../agent/pick.ts';
import { newSecret } from '../agent/token.ts';
import { ttlFor } from '../lease/ttl.ts';

/** A lease for one command. */
export interface RequestLease {
  /** `name:token`, for `Proxy-Authorization`. */
  readonly secret: string;
  revoke(): Promise<void>;
}

/**
 * Makes a lease of whatever an agent reaches now. It lasts as long as one would that `lease create` makes, for the case
 * that the command cannot revoke it.
 *
 * @throws SidekeyError `not_found`, `agent_auth_required` where the agent is disabled, `audit_unavailable`
 */
export async function leaseForRequest(
  { store, grants, audit }: Pick<State, 'store' | 'grants' | 'audit'>,
  config: Pick<Config, 'leases' | 'providers'>,
  agentName: string,
  now: () => number,
): Promise<RequestLease> {
  const at = now();
  const { agents, bindings, policies } = await store.rights.read();
  const agent = pickAgent(agents, agentName);
  if (agent.disabledAt !== null) {
    throw new SidekeyError('agent_auth_required', `The agent ${agent.name} is disabled.`, {
      hint: `sidekey agent enable ${agent.name}`,
    });
  }
  const bound = bindings.filter((binding) => binding.agent === agent.name);
  const labelsOf = (id: string) => policies.find(({ grantId }) => grantId === id)?.labels ?? [];
  const reached = (await grants.list()).filter((grant) =>
    reachesGrant(bound, agent.user, grant, labelsOf(grant.id)),
  );
  const token = newSecret('lease');
  const { ttlMs } = ttlFor(null, reached, { config, policies });
  const id = randomUUID();
  const event = { agent: agent.name, lease: id, reason: 'sidekey fetch' } as const;
  await audited(audit, { event: 'lease.created', ...event }, () =>
    store.leases.insert({
      id,
      agent: agent.name,
      tokenHash: hashToken(token),
      grants: reached.map((grant) => grant.id),
      purpose: 'sidekey fetch',
      createdAt: at,
      expiresAt: at + ttlMs,
      idleMs: null,
      renewedAt: null,
      usedAt: null,
      maxUses: null,
      uses: 0,
      revokedAt: null,
    }),
  );
  return {
    secret: `${agent.name}:${token}`,
    async revoke() {
      await audited(audit, { event: 'lease.revoked', ...event }, () => store.leases.revoke({ id }, now()));
    },
  };
}
