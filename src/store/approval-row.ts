/** Questions, answers and standing approvals as they stand in their tables. */
import {
  longestPath,
  type Answer,
  type Approval,
  type Asking,
  type Question,
  type StandingApproval,
} from '../approvals/approval.ts';
import { damaged } from './rights-row.ts';
import type { QuestionTable } from './schema.ts';

/** Agents choose these texts: so many characters (UTF-16 units) of them are kept. */
const longestReason = 1_024;

export function toQuestionRow(question: Question): QuestionTable {
  return {
    id: question.id,
    exchange: question.exchange,
    asked_at: question.askedAt,
    expires_at: question.expiresAt,
    alive_until: question.aliveUntil,
    ...toAskingRow(question.who),
    method: question.method,
    scheme: question.scheme,
    authority: question.authority,
    path: cut(question.path, longestPath),
    has_query: question.query === null ? 0 : 1,
    query: question.query === null ? null : cut(question.query, longestPath),
    body_bytes: question.bodyBytes,
    grant_name: question.grantName,
    grant_user: question.grantUser,
    provider: question.provider,
    client: question.client,
    reason: question.reason === null ? null : cut(question.reason, longestReason),
    purpose: question.purpose === null ? null : cut(question.purpose, longestReason),
    rule: question.rule,
    rule_name: question.ruleName,
    ...unanswered,
  };
}

const unanswered = { answered_at: null, answered_by: null, answer: null, until: null, stands: 0 };

/** @throws SidekeyError `store_damaged`, as all of these: what Sidekey did not write is no answer. */
export function fromQuestionRow(row: QuestionTable): Approval {
  const { scheme } = row;
  if (scheme !== 'https' && scheme !== 'http') throw damaged(`the question ${row.id}`, 'scheme');
  return {
    id: row.id,
    exchange: row.exchange,
    askedAt: row.asked_at,
    expiresAt: row.expires_at,
    aliveUntil: row.alive_until,
    who: askingOf(row),
    method: row.method,
    scheme,
    authority: row.authority,
    path: row.path,
    // An earlier version kept no query, only that there was one.
    query: row.query ?? (row.has_query === 1 ? '' : null),
    bodyBytes: row.body_bytes,
    grantName: row.grant_name,
    grantUser: row.grant_user,
    provider: row.provider,
    client: row.client,
    reason: row.reason,
    purpose: row.purpose,
    rule: row.rule,
    ruleName: row.rule_name,
    answer: answerOf(row),
  };
}

/** The columns that an answer fills. */
export function toAnswerRow(answer: Answer): Pick<QuestionTable, keyof typeof unanswered> {
  const said = { answered_at: answer.at, answered_by: answer.by };
  if (answer.outcome === 'denied') return { ...unanswered, ...said, answer: 'denied' };
  const { reach } = answer;
  return {
    ...said,
    answer: reach.kind,
    until: reach.kind === 'until' ? reach.at : null,
    stands: reach.kind === 'once' ? 0 : 1,
  };
}

function answerOf({ id, answered_at: at, answered_by: by, answer, until }: QuestionTable): Answer | null {
  if (answer === null) return null;
  if (at === null || by === null) throw damaged(`the question ${id}`, 'answered_at');
  switch (answer) {
    case 'denied':
      return { at, by, outcome: 'denied' };
    case 'once':
    case 'lease':
      return { at, by, outcome: 'allowed', reach: { kind: answer } };
    case 'until':
      if (until !== null) return { at, by, outcome: 'allowed', reach: { kind: 'until', at: until } };
  }
  throw damaged(`the question ${id}`, 'answer');
}

/** The row of a yes that stands. */
export function fromStandingRow(row: QuestionTable): StandingApproval {
  const { id, who, grantName, rule, ruleName, answer } = fromQuestionRow(row);
  if (answer?.outcome !== 'allowed' || answer.reach.kind === 'once')
    throw damaged(`the question ${id}`, 'stands');
  const { at, by, reach } = answer;
  return { id, who, grantName, rule, ruleName, at, by, until: reach.kind === 'until' ? reach.at : null };
}

type AskingColumns = Pick<QuestionTable, 'agent' | 'lease' | 'grant_id' | 'rule_key'>;

function toAskingRow({ agent, lease, grantId, ruleKey }: Asking): AskingColumns {
  return { agent, lease, grant_id: grantId, rule_key: ruleKey };
}

function askingOf({ agent, lease, grant_id, rule_key }: AskingColumns): Asking {
  return { agent, lease, grantId: grant_id, ruleKey: rule_key };
}

/** The beginning of a text, without half a character at its end. */
function cut(text: string, most: number): string {
  return text.slice(0, most).toWellFormed();
}
