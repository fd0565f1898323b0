import { longestPath } from '../approvals/approval.ts';
import type { ApprovalResult } from '../approvals/queue.ts';
import { readText } from '../http/fields.ts';
import type { Client, Reply } from '../http/message.ts';
import { asBeginning, denialOf } from '../http/problem.ts';
import { SidekeyError } from '../lib/errors.ts';
import { authorityText } from '../policy/authority.ts';
import { percentDecoded } from '../policy/text.ts';
import { schemeOf } from '../schemes/placement.ts';
import { grantedBy, type AuthorizedRequest, type GrantDecision, type Judgement } from './authorize.ts';
import type { ProxyServices } from './deps.ts';
import type { ExchangeRecord } from './record.ts';

/** A request that is to wait. */
interface Held {
  /** The request as policy saw it, of which no more is shown to people, and what it would get. */
  readonly granted: AuthorizedRequest;
  /** The path as people may see it. */
  readonly path: string;
  readonly judgeAgain: () => Promise<Judgement | SidekeyError>;
  readonly client: Client;
  readonly gone: Reply['gone'];
}

/**
 * Holds a request until a person has answered; its body waits with the client. Answers with what holds after that.
 *
 * @throws SidekeyError `audit_unavailable`, `store_unavailable`: it cannot be asked
 */
export async function hold(
  { granted, path, judgeAgain, client, gone }: Held,
  record: ExchangeRecord,
  { approvals, audit }: Pick<ProxyServices, 'approvals' | 'audit'>,
): Promise<AuthorizedRequest | SidekeyError> {
  const { decision, caller, grant, settings } = granted;
  const mark = path.indexOf('?');
  const shownPath = mark < 0 ? path : path.slice(0, mark);
  const query = mark < 0 ? null : shownQuery(path.slice(mark + 1), granted);
  if (shownPath.length > longestPath) return tooLong('path', decision);
  if (query !== null && query.length > longestPath) return tooLong('query', decision);
  // Nobody is asked for what they cannot give.
  const ended = await caller.holds(grant, { mode: settings.agents, used: false });
  if (ended instanceof SidekeyError) return ended;
  const { authority, method, reason, contentLength } = granted.facts;
  const { rule, ruleName, approvalKey } = decision;
  const verdict = await approvals.ask(
    {
      exchange: record.exchange,
      who: {
        agent: caller.agent,
        lease: caller.lease?.id ?? null,
        grantId: grant.id,
        // A rule without a key is no rule that asks; a key of its own matches no yes that was given before.
        ruleKey: approvalKey ?? record.exchange,
      },
      method,
      scheme: authority.scheme,
      authority: authorityText(authority),
      path: shownPath,
      query,
      bodyBytes: contentLength,
      grantName: grant.name,
      grantUser: grant.user,
      provider: grant.provider,
      client: client.address,
      reason: reason && readText(reason),
      purpose: caller.lease?.purpose ?? null,
      rule,
      ruleName,
    },
    gone,
    (question) => audit.append(record.asked(question, decision.reason)),
  );
  if (verdict.kind !== 'allowed') return refusalOf(verdict, decision);
  record.approved(verdict.id);
  const again = await judgeAgain();
  if (again instanceof SidekeyError) return again;
  const now = unchanged(granted, again);
  const { id, standing } = verdict;
  return now instanceof SidekeyError ? now : { ...now, approval: { id, standing } };
}

/** What was agreed to may no longer be what would be done: rules are edited, times of day pass, grants come and go. */
function unchanged(then: AuthorizedRequest, now: Judgement): AuthorizedRequest | SidekeyError {
  const { decision } = now;
  if (decision.outcome === 'deny') return denialOf(decision);
  const other = new SidekeyError('rule_denied', 'What was approved is no longer what would be done.', {
    hint: 'send the request again',
  });
  if (decision.outcome === 'tunnel') return other;
  if (decision.outcome === 'approve' && decision.approvalKey !== then.decision.approvalKey) return other;
  const granted = grantedBy(now, decision);
  return granted instanceof SidekeyError || granted.grant.id === then.grant.id ? granted : other;
}

/** The query as people may see it: without the value of the parameter that carries the credential. */
function shownQuery(
  query: string,
  { facts: { authority, path }, grant, settings }: AuthorizedRequest,
): string {
  const plan = settings.injectPlan(grant.provider, { authority, path });
  const parameter = plan instanceof SidekeyError ? undefined : schemeOf(plan).queryParameter?.(plan);
  if (parameter === undefined) return query;
  const name = parameter.toLowerCase();
  return query
    .split(/([&;])/)
    .map((pair) => {
      const [written = ''] = pair.split('=', 1);
      const isCarried = percentDecoded(written).trim().toLowerCase() === name;
      return isCarried && pair.includes('=') ? `${written}=…` : pair;
    })
    .join('');
}

/** Who says yes to the beginning of a path or a query would agree to whatever its end is. */
function tooLong(part: 'path' | 'query', { rule }: GrantDecision): SidekeyError {
  return new SidekeyError(
    'policy_violation',
    `The request needs approval, and its ${part} has more than the ${longestPath} characters that a person can be shown.`,
    { hint: `send a shorter ${part}, or put a rule that allows it before ${rule}` },
  );
}

function refusalOf(
  verdict: Exclude<ApprovalResult, { kind: 'allowed' }>,
  { reason, rule }: GrantDecision,
): SidekeyError {
  switch (verdict.kind) {
    case 'denied':
      return new SidekeyError('approval_denied', 'A person was asked, and said no.', {
        hint: `do not try again without asking them; ${rule} wants the approval`,
      });
    case 'unanswered':
      return new SidekeyError(
        'approval_missing',
        `${asBeginning(reason)}, and nobody answered within ${verdict.waitedMs / 1_000} s.`,
        { hint: 'run "sidekey approve" in a terminal, send the request again, and answer it there' },
      );
    case 'gone':
      return new SidekeyError('approval_missing', 'The client left before anybody answered.', {
        hint: 'let the client wait longer than approvals.timeout',
      });
    case 'removed':
      return new SidekeyError(
        'approval_missing',
        'The agent, the lease or the grant of the request was removed before anybody answered.',
        { hint: 'sidekey agent list; sidekey lease list --all; sidekey grant list' },
      );
    case 'stopping':
      return new SidekeyError('approval_missing', 'The proxy stops, and nobody had answered.', {
        hint: 'send the request again when it runs',
      });
    case 'too_many':
      return new SidekeyError(
        'overloaded',
        `${verdict.maxPending} requests of this agent wait for approval already.`,
        { hint: 'answer them ("sidekey approve"), or raise approvals.max_pending' },
      );
  }
}
