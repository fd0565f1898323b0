import { z } from 'zod';
import {
  answerApproval,
  listApprovals,
  listStandingApprovals,
  revokeApproval,
} from '../../operations/approval.ts';
import { duration } from '../../operations/members.ts';
import { callOperation, operationRoute } from '../operation-route.ts';
import { type AnyRoute, route } from '../route.ts';

/** Routes of requests that wait for a person, and of approvals in force. */

const listed = { command: 'approve', list: 'id' } as const;

export const approvalRoutes: readonly AnyRoute[] = [
  operationRoute(listApprovals, 'GET /v2/approvals', { ...listed, id: 'listApprovals' }),
  operationRoute(listStandingApprovals, 'GET /v2/approvals/standing', {
    ...listed,
    id: 'listStandingApprovals',
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
