import { type Answer, newApprovalId, type Question, type Reach } from '../../src/domain/approval.ts';
import { type Proposal, proposalLifeMs } from '../../src/domain/proposal.ts';

/** A pending approval with three minutes left, of a local caller without a token, with the given fields. */
export function question(
  fields: Partial<Omit<Question, 'who'>> & {
    readonly who: { readonly grantId: string } & Partial<Question['who']>;
  },
): Question {
  const askedAt = fields.askedAt ?? 1_700_000_000_000;
  const expiresAt = fields.expiresAt ?? askedAt + 180_000;
  return {
    id: newApprovalId(),
    exchange: 'exchange-1',
    askedAt,
    expiresAt,
    aliveUntil: expiresAt,
    method: 'DELETE',
    scheme: 'https',
    authority: 'api.github.com',
    path: '/repos/acme/x',
    query: null,
    fields: [],
    operation: null,
    bodyBytes: 0,
    grantName: 'github',
    grantUser: 'default',
    provider: 'github',
    client: '127.0.0.1:4711',
    reason: null,
    purpose: null,
    rule: 'config/sidekey.yaml:12',
    ruleName: null,
    ...fields,
    who: { agent: null, lease: null, ruleKey: 'rule-1', ...fields.who },
  };
}

/** An approval by alice with this reach. */
export function yes(at: number, reach: Reach = { kind: 'once' }): Answer {
  return { at, by: 'alice in a terminal', outcome: 'allowed', reach };
}

/** A denial by bob. */
export function no(at: number): Answer {
  return { at, by: 'bob in a terminal', outcome: 'denied' };
}

/** A proposal of a tunnel by a local caller without a token, with the given fields. */
export function proposal(fields: Partial<Proposal> = {}): Proposal {
  const askedAt = fields.askedAt ?? Date.now();
  return {
    id: newApprovalId(),
    agent: null,
    lease: null,
    change: { kind: 'domain', host: 'api.example.com', grant: null },
    reason: 'ticket 7',
    client: '127.0.0.1:4711',
    askedAt,
    expiresAt: askedAt + proposalLifeMs,
    answer: null,
    usedAt: null,
    ...fields,
  };
}
