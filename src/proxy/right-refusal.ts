/** What a caller is told whose right has ended, with the command that gives it back. */
import { SidekeyError } from '../errors.ts';
import type { Grant } from '../grants/grant.ts';
import { defaultUser } from '../grants/grant.ts';
import type { Lease, LeaseStanding } from '../grants/lease.ts';
import type { AgentRecord, AgentTokenRecord, GrantPolicy } from '../store/rights.ts';

export function agentDisabled({ name }: AgentRecord): SidekeyError {
  return new SidekeyError('agent_auth_required', `The agent ${name} is disabled.`, {
    hint: `sidekey agent enable ${name}`,
  });
}

export function tokenEnded({ agent, label, expiresAt, revokedAt }: AgentTokenRecord): SidekeyError {
  const how = revokedAt === null && expiresAt !== null ? `ended at ${time(expiresAt)}` : 'was revoked';
  return new SidekeyError('agent_auth_required', `This token of the agent ${agent} ${how}.`, {
    hint: `for a new one: sidekey agent rotate ${agent} --token-label ${label}`,
  });
}

/** `lease_expired`, whichever way it ended: the grant and its token have clocks of their own. */
export function leaseEnded(
  lease: Lease,
  standing: Exclude<LeaseStanding, { readonly state: 'active' }>,
): SidekeyError {
  const { id, agent, idleMs } = lease;
  switch (standing.state) {
    case 'expired': {
      const how =
        standing.why === 'idle' ? `was not used for ${(idleMs ?? 0) / 1_000} s, and ended` : 'ended';
      return ended(
        `The lease ${id} of ${agent} ${how} at ${time(standing.at)}.`,
        `sidekey lease renew ${id}`,
      );
    }
    case 'used_up':
      return usedUp(lease);
    case 'revoked':
      return ended(
        `The lease ${id} of ${agent} was revoked at ${time(standing.at)}.`,
        `sidekey lease create --agent ${agent} --grant GRANT --purpose TEXT`,
      );
  }
}

export function usedUp({ id, agent, maxUses }: Lease): SidekeyError {
  const requests = maxUses === 1 ? 'one request, which was' : `${maxUses} requests, which were`;
  return ended(
    `The lease ${id} of ${agent} is used up: it was for ${requests} made.`,
    `sidekey lease renew ${id} --uses ${maxUses}`,
  );
}

/** The end that people set for a grant; null: it has none, or it is yet to come. */
export function grantEnded(grant: Grant, policy: GrantPolicy | null, now: number): SidekeyError | null {
  const at = policy?.expiresAt ?? null;
  if (at === null || now < at) return null;
  const whose = grant.user === defaultUser ? '' : ` --user ${grant.user}`;
  return new SidekeyError('grant_expired', `The grant ${grant.name} was given until ${time(at)}.`, {
    hint: `sidekey grant extend ${grant.name}${whose}`,
  });
}

function ended(sentence: string, hint: string): SidekeyError {
  return new SidekeyError('lease_expired', sentence, { hint });
}

function time(at: number): string {
  return new Date(at).toISOString();
}
