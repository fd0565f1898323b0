/** Who may use a grant now. */
import { reachesGrant } from '../../grants/binding.ts';
import type { Grant } from '../../grants/grant.ts';
import { isLeaseFor, leaseStanding } from '../../grants/lease.ts';
import type { AgentRecord, LeaseRecord, Rights } from '../../store/rights.ts';
import { leaseEndText, shortId } from '../lease/words.ts';

/** Agents that are bound to it, and leases that are good for it. */
export interface ReachedBy {
  readonly agents: readonly AgentRecord[];
  readonly leases: readonly LeaseRecord[];
}

/** A lease counts as far as its agent reaches the grant too. */
export function reachedBy(grant: Grant, rights: Rights | null, now: number): ReachedBy {
  if (rights === null) return { agents: [], leases: [] };
  const labels = rights.policies.find(({ grantId }) => grantId === grant.id)?.labels ?? [];
  const agents = rights.agents.filter(({ name, user }) =>
    reachesGrant(
      rights.bindings.filter(({ agent }) => agent === name),
      user,
      grant,
      labels,
    ),
  );
  const leases = rights.leases.filter(
    (lease) =>
      isLeaseFor(lease, grant.id) &&
      agents.some(({ name, disabledAt }) => name === lease.agent && disabledAt === null) &&
      leaseStanding(lease, now).state === 'active',
  );
  return { agents, leases };
}

/** Rows of `grant show`. */
export function reachedByRows(
  { agents, leases }: ReachedBy,
  { agents: mode }: { readonly agents: 'optional' | 'required' },
  now: number,
): Readonly<Record<string, string | null>> {
  const names = agents.map(({ name, disabledAt }) => (disabledAt === null ? name : `${name} (disabled)`));
  if (mode === 'optional') names.push('callers on this machine without a token');
  return {
    'reached by': names.length === 0 ? 'no agent' : names.join(', '),
    'active leases':
      leases.length === 0
        ? null
        : leases
            .map((lease) => `${shortId(lease.id)} of ${lease.agent}, ends ${leaseEndText(lease, now)}`)
            .join('; '),
  };
}

/** The same for programs. */
export function reachedByJson({ agents, leases }: ReachedBy): Readonly<Record<string, unknown>> {
  return {
    agents: agents.map(({ name, disabledAt }) => ({
      name,
      state: disabledAt === null ? 'enabled' : 'disabled',
    })),
    active_leases: leases.map(({ id, agent }) => ({ id, agent })),
  };
}
