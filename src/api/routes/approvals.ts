import { z } from 'zod';
import type { ServiceParts } from '../parts.ts';
import { type AnyRoute, commandRoute, type Given, originOf, route } from '../route.ts';
import { span, time, timeOrNull } from '../../operations/members.ts';

/** Routes of requests that wait for a person, and of approvals in force. */

const approval = z
  .strictObject({
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
  })
  .meta({ id: 'Approval' });

const standing = z
  .strictObject({
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
  })
  .meta({ id: 'StandingApproval' });

const one = { tag: 'Approvals', path: '/v2/approvals/{approval}', commands: ['approve'] } as const;

/** Returns both lists of `sidekey approve --list`. */
async function bothLists({ caller }: Given<unknown, unknown>, { runCommand }: ServiceParts) {
  const { value } = await runCommand({ command: 'approve', options: { list: true } }, originOf(caller));
  return value as Readonly<Record<'waiting' | 'standing', readonly unknown[]>>;
}

export const approvalRoutes: readonly AnyRoute[] = [
  route({
    ...one,
    method: 'get',
    path: '/v2/approvals',
    id: 'listApprovals',
    summary: 'List the requests that wait for a person.',
    scope: 'approvals:read',
    result: approval,
    list: ({ id }: z.output<typeof approval>) => id,
    handle: async (given, parts) => (await bothLists(given, parts)).waiting,
  }),
  route({
    ...one,
    method: 'get',
    path: '/v2/approvals/standing',
    id: 'listStandingApprovals',
    summary: 'List the approvals that are in force.',
    scope: 'approvals:read',
    result: standing,
    list: ({ id }: z.output<typeof standing>) => id,
    handle: async (given, parts) => (await bothLists(given, parts)).standing,
  }),
  commandRoute({
    ...one,
    method: 'post',
    id: 'answerApproval',
    summary: 'Answer a request that waits.',
    scope: 'approvals:write',
    body: z.discriminatedUnion('answer', [
      z.strictObject({ answer: z.enum(['once', 'lease', 'deny']) }),
      z.strictObject({ answer: z.literal('for'), span }),
    ]),
    result: approval,
    call: ({ params, body }) => ({
      command: 'approve',
      args: [params['approval']],
      options: body.answer === 'for' ? { for: body.span } : { [body.answer]: true },
    }),
  }),
  commandRoute({
    ...one,
    method: 'delete',
    id: 'revokeApproval',
    summary: 'End an approval that is in force.',
    scope: 'approvals:write',
    result: standing,
    call: ({ params }) => ({ command: 'approve', options: { revoke: params['approval'] } }),
  }),
];
