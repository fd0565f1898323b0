import { SidekeyError } from '../errors.ts';
import type { Grant } from '../grants/grant.ts';
import { authorityText, type Authority } from '../policy/authority.ts';
import { decideConnect, decideRequest, type Policy } from '../policy/decide.ts';
import type { RequestFacts } from '../policy/request-facts.ts';
import type { Identity } from './agent.ts';
import { denialOf } from './refusal.ts';
import type { Rooms } from './rooms.ts';

/** By what right something was let through. What lasts is asked for it again. */
export interface Right {
  readonly caller: Pick<Identity, 'holds'>;
  /** Whose credential went along, or would have where the client has its own; null: none. */
  readonly grant: Grant | null;
}

/** The same of a request, with what policy saw of it. */
export interface RequestRight extends Right {
  readonly caller: Pick<Identity, 'holds' | 'labels' | 'labelsNow' | 'grantLabels'>;
  readonly facts: RequestFacts;
  /** The yes of a person that it has; absent: nobody was asked. */
  readonly approval?: Consented | undefined;
}

/** What a person said yes to. */
export interface Consented {
  /** Of the question that they answered. */
  readonly id: string;
  /** Whether the yes is for more than this one request: then what is open goes on for as long as the yes stands. */
  readonly standing: boolean;
}

/** Knows of each yes whether it stands: whether it is for more than one request, and neither over nor revoked. */
export interface StandingApprovals {
  stands(id: string): Promise<boolean>;
}

/**
 * When the clock will end a right (milliseconds since the epoch; Infinity: no end is known), or why it has ended. Whether
 * policy still allows what was done by it is another question.
 *
 * @throws SidekeyError `store_unavailable`
 */
export async function endOfRight(
  { caller, grant }: Right,
  facts: Parameters<Identity['holds']>[1],
  { grants }: Pick<Rooms, 'grants'>,
): Promise<number | SidekeyError> {
  if (grant === null) return caller.holds(null, facts);
  const stored = (await grants.find(grant.id)).find(({ id }) => id === grant.id);
  if (stored === undefined) return new SidekeyError('grant_missing', `The grant ${grant.name} was removed.`);
  if (stored.state === 'revoked')
    return new SidekeyError('grant_revoked', `The grant ${grant.name} was revoked.`);
  return caller.holds(stored, facts);
}

/**
 * Why policy would not let a request go on with the grant that it had; null: it would. Times of day count, the labels of
 * the agent and the grant as they are now, and whether a person's yes still covers it.
 *
 * @throws SidekeyError `store_unavailable`
 */
export async function requestRefusal(
  policy: Policy,
  right: RequestRight,
  now: number,
  approvals: StandingApprovals,
): Promise<SidekeyError | null> {
  const { facts, grant } = right;
  const decision = decideRequest(policy, { ...facts, labels: await labelsNow(right), now });
  if (decision.outcome === 'deny') return denialOf(decision);
  if (decision.outcome === 'approve') {
    const refused = await approvalRefusal(right, approvals);
    if (refused !== null) return refused;
  }
  if (grant === null) return null;
  const isOffered =
    decision.outcome !== 'tunnel' && [grant.id, grant.name, grant.provider].includes(decision.grant);
  if (isOffered) return null;
  const where = authorityText(facts.authority);
  return new SidekeyError('rule_denied', `${where} no longer has the grant ${grant.name}.`);
}

/** As `requestFacts` has them: those of the agent, then those of the grant. */
async function labelsNow({ caller, facts, grant }: RequestRight): Promise<readonly string[]> {
  // Where no credential went along, a grant's labels are those that the request was let through with.
  const ofGrant = grant === null ? facts.labels.slice(caller.labels.length) : await caller.grantLabels(grant);
  return [...(await caller.labelsNow()), ...ofGrant];
}

/** Why no yes covers what a rule wants one for; null: one does. */
async function approvalRefusal(
  { approval }: RequestRight,
  approvals: StandingApprovals,
): Promise<SidekeyError | null> {
  if (approval === undefined) {
    return new SidekeyError('approval_missing', 'A rule wants a person to be asked now, and nobody was.');
  }
  const isOver = approval.standing && !(await approvals.stands(approval.id));
  return isOver ? new SidekeyError('approval_missing', 'The yes that let it in stands no longer.') : null;
}

/** Why policy would not let a blind tunnel begin; null: it would. */
export function tunnelRefusal(policy: Policy, target: Authority): SidekeyError | null {
  const decision = decideConnect(policy, target);
  if (decision.outcome === 'tunnel') return null;
  if (decision.outcome === 'deny') return denialOf(decision);
  return new SidekeyError('policy_violation', `${authorityText(target)} is no longer a blind tunnel.`);
}
