import { z } from 'zod';
import { cardOf, knownFacts } from '../../agents/approvals/card.ts';
import { choicesOf, isWaiting } from '../../domain/approval.ts';
import {
  answerApproval,
  approvalAnswer,
  approvalShape,
  listApprovals,
  listStandingApprovals,
  readId,
  revokeApproval,
} from '../../operations/approval.ts';
import { unknownApproval } from '../../operations/answer-approval.ts';
import { duration } from '../../operations/members.ts';
import { callOperation, operationRoute } from '../operation-route.ts';
import { type AnyRoute, route } from '../route.ts';

/** Routes of requests that wait for a person, and of approvals in force. */

const listed = { command: 'approve', list: 'id' } as const;

/** A text of the agent in parts; `named` marks a parameter that the rule restricts. */
const quoteShape = z.strictObject({
  caption: z.string(),
  parts: z.array(z.strictObject({ text: z.string(), named: z.boolean() })),
});

const choiceShape = z.strictObject({
  answer: z.enum(['once', 'deny', 'for', 'lease']),
  span: z.string().nullable(),
  label: z.string(),
  effect: z.string(),
});

/** Texts of a request for people. The body is only in the memory of the running proxy, while it waits. */
const shownShape = approvalShape
  .extend({
    title: z.string(),
    url: z.string(),
    quotes: z.array(quoteShape).describe('Its header fields, its body if it can be shown, and its reason.'),
    facts: z.array(z.strictObject({ name: z.string(), value: z.string() })),
    like: z.string().describe('Further requests that an answer for a time or a lease allows.'),
    answers: z.array(choiceShape).describe('Possible answers; empty when the request has ended.'),
  })
  .meta({ id: 'ShownApproval' });

export const approvalRoutes: readonly AnyRoute[] = [
  operationRoute(listApprovals, 'GET /v2/approvals', { ...listed, id: 'listApprovals' }),
  operationRoute(listStandingApprovals, 'GET /v2/approvals/standing', {
    ...listed,
    id: 'listStandingApprovals',
  }),
  route({
    method: 'get',
    path: '/v2/approvals/{approval}',
    id: 'getApproval',
    tag: 'Approvals',
    summary: 'Show a request that waits, with its body and the effect of each answer.',
    scope: 'approvals:read',
    result: shownShape,
    commands: ['approve'],
    async handle({ params, caller }, { store, approvals: queue, grants, config, now }) {
      const id = readId(params['approval']!);
      const question = await store.approvals.get(id);
      if (question === null) throw unknownApproval(id);
      const at = now();
      const known = await knownFacts(question, { queue, grants, config: await config() });
      // A body may have secrets of the agent. Only a person who can answer needs it.
      const mayAnswer = caller.scopes.has('approvals:write');
      return {
        ...approvalAnswer(question, at),
        ...cardOf(question, mayAnswer ? known : { ...known, body: null }),
        answers: isWaiting(question, at) ? choicesOf(question) : [],
      };
    },
  }),
  route({
    method: 'post',
    path: '/v2/approvals/{approval}',
    id: 'answerApproval',
    operations: [answerApproval.id],
    tag: 'Approvals',
    summary: answerApproval.summary,
    scope: answerApproval.scope,
    body: z.discriminatedUnion('answer', [
      z.strictObject({ answer: z.enum(['once', 'lease', 'deny']) }),
      z.strictObject({ answer: z.literal('for'), span: duration }),
    ]),
    result: answerApproval.output,
    commands: ['approve'],
    handle: async ({ params, body, caller }, parts) =>
      callOperation(answerApproval, { approval: params['approval']!, ...body }, caller, parts),
  }),
  operationRoute(revokeApproval, 'DELETE /v2/approvals/{approval}', {
    id: 'revokeApproval',
    command: 'approve',
  }),
];
