import { z } from 'zod';
import { type AnyRoute, commandRoute } from '../route.ts';
import { time, timeOrNull } from '../../operations/members.ts';

/** Routes of changes that agents propose. */

const texts = z.array(z.string());

const members = {
  id: z.string(),
  status: z.enum(['waiting', 'accepted', 'declined', 'expired']),
  agent: z.string().nullable(),
  lease: z.string().nullable(),
  change: z.discriminatedUnion('kind', [
    z.strictObject({
      kind: z.literal('domain'),
      host: z.string(),
      grant: z.string().nullable(),
      action: z.enum(['tunnel', 'grant']),
    }),
    z.strictObject({ kind: z.literal('grant'), provider: z.string(), scopes: texts }),
    z.strictObject({ kind: z.literal('scope'), grant: z.string(), scopes: texts }),
  ]),
  reason: z.string().describe('Unchecked text of the agent.'),
  client: z.string(),
  asked_at: time,
  expires_at: time,
  answer: z
    .strictObject({
      outcome: z.enum(['declined', 'once', 'lease', 'for_good', 'connect', 'connected']),
      at: time,
      by: z.string(),
    })
    .nullable(),
  used_at: timeOrNull,
};

const proposal = z.strictObject(members).meta({ id: 'Proposal' });

const proposalWithEffect = z
  .strictObject({
    ...members,
    diff: z.string().nullable().describe('Change of the config file by a yes for good.'),
    commands: texts.describe('Commands that connect the grant.'),
    notes: texts,
  })
  .meta({ id: 'ProposalWithEffect' });

const one = { tag: 'Proposals', path: '/v2/proposals/{proposal}' } as const;

export const proposalRoutes: readonly AnyRoute[] = [
  commandRoute({
    ...one,
    method: 'get',
    path: '/v2/proposals',
    id: 'listProposals',
    summary: 'List the changes that agents propose.',
    scope: 'approvals:read',
    result: proposal,
    list: ({ id }: { readonly id: string }) => id,
    commands: ['proposal list'],
    call: () => ({ command: 'proposal list' }),
  }),
  commandRoute({
    ...one,
    method: 'get',
    id: 'getProposal',
    summary: 'Show a proposal, and what a yes changes.',
    scope: 'approvals:read',
    result: proposalWithEffect,
    commands: ['proposal show'],
    call: ({ params }) => ({ command: 'proposal show', args: [params['proposal']] }),
  }),
  commandRoute({
    ...one,
    method: 'post',
    path: '/v2/proposals/{proposal}/accept',
    id: 'acceptProposal',
    summary: 'Accept a proposal: a domain once or for the lease; a grant or scopes, to be connected.',
    scope: 'approvals:write',
    body: z.strictObject({
      reach: z.enum(['once', 'lease']).optional().describe('For a domain; default: once.'),
    }),
    result: proposalWithEffect,
    commands: ['proposal accept'],
    call: ({ params, body: { reach } }) => ({
      command: 'proposal accept',
      args: [params['proposal']],
      options: reach === undefined ? {} : { [reach]: true },
    }),
  }),
  commandRoute({
    ...one,
    method: 'post',
    path: '/v2/proposals/{proposal}/accept-for-good',
    id: 'acceptProposalForGood',
    summary: 'Accept a proposed domain for good: the config file gets an entry.',
    scope: 'config:write',
    result: proposalWithEffect,
    commands: ['proposal accept'],
    call: ({ params }) => ({
      command: 'proposal accept',
      args: [params['proposal']],
      options: { forGood: true },
    }),
  }),
  commandRoute({
    ...one,
    method: 'post',
    path: '/v2/proposals/{proposal}/decline',
    id: 'declineProposal',
    summary: 'Decline a proposal, or end a yes that is not for good.',
    scope: 'approvals:write',
    result: proposal,
    commands: ['proposal decline'],
    call: ({ params }) => ({ command: 'proposal decline', args: [params['proposal']] }),
  }),
];
