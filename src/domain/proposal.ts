import type { AuditEvent } from './event.ts';
import { defaultPort, parseAuthority } from '../proxy/policy/authority.ts';

/** Proposals: changes that agents request from a person. All times are milliseconds since the epoch. */

/** A requested change in canonical form: equal changes have equal members in the same order. */
export type ProposedChange =
  /** `host` is `name` or `name:port`; `grant` is null for a blind tunnel. */
  | { readonly kind: 'domain'; readonly host: string; readonly grant: string | null }
  | { readonly kind: 'grant'; readonly provider: string; readonly scopes: readonly string[] }
  | { readonly kind: 'scope'; readonly grant: string; readonly scopes: readonly string[] };

/** Caller that made the proposal. An accepted domain is valid for this caller. */
export interface Proposer {
  /** Name of the agent; null: a local caller without a token. */
  readonly agent: string | null;
  /** ID of the lease; null: no lease. */
  readonly lease: string | null;
}

export interface Proposal extends Proposer {
  /** ID like that of an approval; see `newApprovalId`. */
  readonly id: string;
  readonly change: ProposedChange;
  /** Unverified text of the agent. */
  readonly reason: string;
  /** Address and port of the caller. */
  readonly client: string;
  readonly askedAt: number;
  /** Time from which the proposal cannot be answered. */
  readonly expiresAt: number;
  /** The answer; null: unanswered. */
  readonly answer: ProposalAnswer | null;
  /** Time of the exchange that used a `once` answer; null: none yet. */
  readonly usedAt: number | null;
}

/**
 * - `once`, `lease`, `for_good` (domains): for one exchange within an hour, until the lease ends, or in the
 *   config file.
 * - `connect`, `connected` (others): a person is about to connect the grant; a grant with the scopes exists.
 */
export type ProposalOutcome = 'declined' | 'once' | 'lease' | 'for_good' | 'connect' | 'connected';

export interface ProposalAnswer {
  readonly at: number;
  /** Author, as far as known: `alice at the command line`. */
  readonly by: string;
  readonly outcome: ProposalOutcome;
}

/** Milliseconds for which a proposal can be answered. */
export const proposalLifeMs = 86_400_000;

/** Milliseconds after a `once` answer in which it can be used. */
export const onceMs = 3_600_000;

/** Maximum length of a reason, in UTF-16 units. */
export const maxReasonLength = 1_024;

/** State of a proposal, as its agent receives it. */
type ProposalStatus = 'waiting' | 'accepted' | 'declined' | 'expired';

/** Returns the state of a proposal. A grant counts as accepted once it is connected. */
export function statusOf({ answer, expiresAt }: Proposal, now: number): ProposalStatus {
  if (answer?.outcome === 'declined') return 'declined';
  if (answer !== null && answer.outcome !== 'connect') return 'accepted';
  return expiresAt > now ? 'waiting' : 'expired';
}

/** Returns the earlier outcomes that an outcome replaces. */
export function replacedBy(outcome: ProposalOutcome): readonly ProposalOutcome[] {
  if (outcome === 'declined') return ['once', 'lease', 'connect'];
  return outcome === 'connected' ? ['connect'] : [];
}

/** Formats the change: `the domain api.example.com as a tunnel, without a credential`. */
export function changeText(change: ProposedChange): string {
  switch (change.kind) {
    case 'domain':
      return change.grant === null
        ? `the domain ${change.host} as a tunnel, without a credential`
        : `the domain ${change.host} with the grant ${change.grant}`;
    case 'grant':
      return `a grant of ${change.provider}${scopesText(change.scopes, ' with the scopes')}`;
    case 'scope':
      return `more of the grant ${change.grant}:${scopesText(change.scopes, '')}`;
  }
}

function scopesText(scopes: readonly string[], before: string): string {
  return scopes.length === 0 ? '' : `${before} ${scopes.join(' ')}`;
}

/** Returns the audit event of a proposal or of its answer. */
export function proposalEvent(
  { id, agent, lease, client, change }: Proposal,
  answer: Pick<ProposalAnswer, 'outcome' | 'by'> | null,
): AuditEvent {
  const host = change.kind === 'domain' ? parseAuthority(change.host, 'https') : null;
  const about = {
    approval: id,
    agent: agent ?? undefined,
    lease: lease ?? undefined,
    host: host?.host,
    port: host === null || host.port === defaultPort.https ? undefined : host.port,
    provider: change.kind === 'grant' ? change.provider : undefined,
  };
  if (answer === null) return { event: 'proposal.made', ...about, client, reason: changeText(change) };
  const reason = `${changeText(change)}; ${answer.by}`;
  return answer.outcome === 'declined'
    ? { event: 'proposal.declined', outcome: 'deny', ...about, reason }
    : {
        event: 'proposal.accepted',
        outcome: 'allow',
        ...about,
        reason: `${reason}, ${answer.outcome.replace('_', ' ')}`,
      };
}
