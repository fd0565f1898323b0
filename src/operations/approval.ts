import { z } from 'zod';
import { recordChange } from '../audit/log.ts';
import { type Approval, readApprovalId, type StandingApproval } from '../domain/approval.ts';
import { inputInvalid, SidekeyError } from '../lib/errors.ts';
import { remedy } from '../lib/hint.ts';
import { respond } from './answer-approval.ts';
import { authorOf } from './caller.ts';
import { isoOrNull, isoTime } from './format.ts';
import { duration, membersOf, named, text, time, timeOrNull } from './members.ts';
import { changing, reading } from './operation.ts';
import { pageInput, pageOf } from './paging.ts';

/** Requests that wait for a person, and approvals in force. */

export const approvalShape = named('Approval', {
  id: z.string(),
  exchange: z.string(),
  asked_at: time,
  expires_at: time,
  expires_in: z.int(),
  agent: z.string().nullable(),
  client: z.string(),
  lease: z.string().nullable(),
  purpose: z.string().nullable().describe('Unchecked text of the agent.'),
  method: z.string(),
  scheme: z.enum(['http', 'https']),
  authority: z.string(),
  path: z.string(),
  query: z.string().nullable(),
  fields: z.array(z.string()).describe('Header fields that are not common: `NAME: VALUE`.'),
  has_query: z.boolean(),
  operation: z.string().nullable().describe('The request in words of its provider.'),
  body_bytes: z.int().nullable(),
  grant: z.string(),
  grant_name: z.string(),
  user: z.string(),
  provider: z.string(),
  reason: z.string().nullable().describe('Unchecked text of the agent.'),
  rule: z.string(),
  rule_name: z.string().nullable(),
  answer: z
    .strictObject({
      outcome: z.enum(['allowed', 'denied']),
      reach: z.enum(['once', 'lease', 'until']).nullable(),
      until: timeOrNull,
      at: time,
      by: z.string(),
    })
    .nullable(),
});

export function approvalAnswer(question: Approval, now: number): z.input<typeof approvalShape> {
  const { who, answer, expiresAt, query, grantUser } = question;
  const reach = answer?.outcome === 'allowed' ? answer.reach : null;
  const until = isoOrNull(reach?.kind === 'until' ? reach.at : null);
  return membersOf(approvalShape.shape, {
    ...question,
    ...who,
    grant: who.grantId,
    user: grantUser,
    expiresIn: Math.max(0, Math.floor((expiresAt - now) / 1_000)),
    hasQuery: query !== null,
    answer: answer && {
      outcome: answer.outcome,
      reach: reach?.kind ?? null,
      until,
      at: isoTime(answer.at),
      by: answer.by,
    },
  });
}

const standingShape = named('StandingApproval', {
  id: z.string(),
  agent: z.string().nullable(),
  lease: z.string().nullable(),
  grant: z.string(),
  grant_name: z.string(),
  rule: z.string(),
  rule_name: z.string().nullable(),
  until: timeOrNull,
  at: time,
  by: z.string(),
});

function standingAnswer(yes: StandingApproval): z.input<typeof standingShape> {
  const { who, at, until } = yes;
  const times = { at: isoTime(at), until: isoOrNull(until) };
  return membersOf(standingShape.shape, { ...yes, ...who, ...times, grant: who.grantId });
}

export const listApprovals = reading({
  id: 'approval.list',
  summary: 'List the requests that wait for a person.',
  scope: 'approvals:read',
  input: z.strictObject(pageInput),
  output: z.array(approvalShape),
  run: ({ store }, page, at) =>
    pageOf(page, {
      place: z.object({ askedAt: z.int(), id: z.string() }),
      read: async (query) => (await store?.approvals.waiting(at, query)) ?? [],
    }),
  next: ({ next }) => next,
  answer: ({ rows }, at) => rows.map((question) => approvalAnswer(question, at)),
});

export const listStandingApprovals = reading({
  id: 'approval.list_standing',
  summary: 'List the approvals that are in force.',
  scope: 'approvals:read',
  input: z.strictObject(pageInput),
  output: z.array(standingShape),
  run: ({ store }, page, at) =>
    pageOf(page, {
      place: z.object({ at: z.int(), id: z.string() }),
      read: async (query) => (await store?.approvals.listStanding(at, query)) ?? [],
    }),
  next: ({ next }) => next,
  answer: ({ rows }) => rows.map(standingAnswer),
});

export const answerApproval = changing({
  id: 'approval.answer',
  summary: 'Answer a request that waits.',
  scope: 'approvals:write',
  input: z.strictObject({
    approval: text,
    answer: z.enum(['once', 'lease', 'for', 'deny']),
    span: duration.optional(),
  }),
  output: approvalShape,
  check({ approval, answer, span }) {
    readId(approval);
    if ((answer === 'for') === (span !== undefined)) return;
    throw new SidekeyError('input_invalid', 'A span is for the answer "for", which needs one.', {
      hint: remedy('approval.answer', { approval, answer: 'for', span: '15m' }),
    });
  },
  async run({ caller, ...parts }, { approval, answer, span: forMs = 0 }, at) {
    const choice = answer === 'for' ? { forMs } : answer;
    return respond(parts, { id: readId(approval), said: choice, by: authorOf(caller), at });
  },
  answer: approvalAnswer,
});

export const revokeApproval = changing({
  id: 'approval.revoke',
  summary: 'End an approval that is in force.',
  scope: 'approvals:write',
  input: z.strictObject({ approval: text }),
  output: standingShape,
  check: ({ approval }) => void readId(approval),
  async run({ store, audit, caller }, { approval }, at) {
    const id = readId(approval);
    const standing = await store.approvals.standingOf(id, at);
    if (standing === null) throw nothingStands(id);
    const { agent, lease, grantId } = standing.who;
    const event = {
      event: 'approval.revoked',
      approval: id,
      agent: agent ?? undefined,
      lease: lease ?? undefined,
      grant: grantId,
      reason: authorOf(caller),
    } as const;
    return recordChange(audit, event, async () => {
      const revoked = await store.approvals.revoke(id);
      if (revoked === null) throw nothingStands(id);
      return revoked;
    });
  },
  answer: standingAnswer,
});

/** @throws SidekeyError `input_invalid` */
export function readId(written: string): string {
  const id = readApprovalId(written);
  if (id !== null) return id;
  throw inputInvalid(
    'This is not the ID of a request: an ID has eight letters and digits.',
    remedy('approval.list'),
  );
}

function nothingStands(id: string): SidekeyError {
  return new SidekeyError(
    'not_found',
    `No approval ${id} is in force: it has ended, or was for one request only.`,
    { hint: remedy('approval.list') },
  );
}
