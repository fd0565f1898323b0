import type { Identity } from '../agents/authentication.ts';
import type { Proposer } from '../domain/proposal.ts';
import type { ProposedDomain, ProposedPolicy, Proposals } from '../agents/approvals/proposals.ts';
import { SidekeyError } from '../lib/errors.ts';
import { type Authority, authorityText } from './policy/authority.ts';
import { connectDomain, type Policy } from './policy/decide.ts';

/** The accepted proposal that allows a request or a tunnel to a host that the domain map does not list. */
export interface AcceptedProposal extends Pick<ProposedDomain, 'proposal' | 'isOnce'> {
  readonly proposer: Proposer;
  /** The policy that allowed the request. */
  readonly policy: ProposedPolicy;
}

type ProposalReader = Pick<Proposals, 'policyFor'>;

/** Returns the caller in the form of the store. */
export function proposerOf({ agent, lease }: Pick<Identity, 'agent' | 'lease'>): Proposer {
  return { agent, lease: lease?.id ?? null };
}

/**
 * Returns the accepted proposal of a caller for a host that the config does not list; null: there is none.
 *
 * @param entryOf looks the host up
 */
export async function acceptedFor(
  caller: Pick<Identity, 'agent' | 'lease'>,
  entryOf: (policy: ProposedPolicy) => ProposedDomain | null,
  proposals: ProposalReader,
): Promise<AcceptedProposal | null> {
  const proposer = proposerOf(caller);
  const policy = await proposals.policyFor(proposer);
  const entry = policy === null ? null : entryOf(policy);
  if (policy === null || entry === null) return null;
  return { proposal: entry.proposal, isOnce: entry.isOnce, policy, proposer };
}

/**
 * Uses up an approval for one exchange, directly before its bytes are sent.
 * @throws SidekeyError `domain_not_allowed`: the approval is used up or has ended; `store_unavailable`
 */
export async function useProposal(
  { proposal }: AcceptedProposal,
  target: Authority,
  { proposals }: { readonly proposals: Pick<Proposals, 'use'> },
): Promise<void> {
  if (await proposals.use(proposal)) return;
  const sentence = `The proposal ${proposal} allowed one request to ${authorityText(target)}, and that was sent.`;
  throw new SidekeyError('domain_not_allowed', sentence, { hint: 'propose it again' });
}

/**
 * Returns the policy for an exchange of an accepted proposal: that of the config if its map lists the host
 * now, otherwise that of the proposals in force. A yes for one exchange holds to the end of the exchange.
 *
 * @throws SidekeyError `store_unavailable`
 */
export async function policyNow(
  policy: Policy,
  accepted: AcceptedProposal | null,
  target: Authority,
  proposals: ProposalReader,
): Promise<Policy> {
  if (accepted === null || connectDomain(policy, target) !== null) return policy;
  if (accepted.isOnce) return accepted.policy;
  return (await proposals.policyFor(accepted.proposer)) ?? policy;
}
