import { z } from 'zod';
import { type AnyRoute, commandRoute } from '../route.ts';
import { name, span, text, timeOrNull } from '../../operations/fields.ts';
import { agent, agentInList, boundAgent, createdAgent } from '../schemas.ts';

/** Routes of agents. */

const agents = { tag: 'Agents', path: '/v2/agents/{agent}' } as const;

/** A grant: name, id, or USER/NAME. */
const grants = z.array(text).min(1).optional().describe('Name, ID, or USER/NAME.');

const egress = z
  .array(text)
  .min(1)
  .optional()
  .describe('Only these hosts without a credential: HOST, HOST:PORT, *.SUFFIX, or none.');

const binding = z.strictObject({
  grants,
  providers: z.array(name).min(1).optional().describe('Every grant of these providers.'),
  users: z.array(name).min(1).optional().describe('Every grant of these users.'),
  labels: z.array(name).min(1).optional().describe('Every grant with one of these labels.'),
  everything: z.boolean().optional().describe('Every grant of every user.'),
  egress,
});

function bindingOptions({
  grants: some,
  providers,
  users,
  labels,
  everything,
  egress: hosts,
}: z.output<typeof binding>) {
  return {
    grant: some,
    provider: providers,
    user: users,
    label: labels,
    egress: hosts,
    ...(everything === true ? { everything } : {}),
  };
}

const tokenEnd = text.optional().describe('90d, or a date.');

export const agentRoutes: readonly AnyRoute[] = [
  commandRoute({
    method: 'get',
    path: '/v2/agents',
    id: 'listAgents',
    tag: 'Agents',
    summary: 'List the agents.',
    scope: 'access:read',
    result: agentInList,
    list: ({ name: of }: z.output<typeof agentInList>) => of,
    commands: ['agent list'],
    call: () => ({ command: 'agent list' }),
  }),
  commandRoute({
    ...agents,
    method: 'get',
    id: 'getAgent',
    summary: 'Show an agent, and the grants that it reaches.',
    scope: 'access:read',
    result: agent,
    commands: ['agent list'],
    call: ({ params }) => ({ command: 'agent list', args: [params['agent']] }),
  }),
  commandRoute({
    method: 'post',
    path: '/v2/agents',
    id: 'createAgent',
    tag: 'Agents',
    summary: 'Create an agent. The answer has its token, once.',
    scope: 'access:write',
    body: binding.extend({
      name,
      acts_for: name.optional().describe('The user that it acts for.'),
      agent_labels: z.array(name).optional(),
      token_label: name.optional(),
      expires: tokenEnd,
    }),
    status: 201,
    result: createdAgent,
    commands: ['agent create'],
    call: ({ body: { name: as, acts_for, agent_labels, token_label, expires, ...rest } }) => ({
      command: 'agent create',
      args: [as],
      options: {
        ...bindingOptions(rest),
        for: acts_for,
        agentLabel: agent_labels,
        tokenLabel: token_label,
        expires,
      },
    }),
  }),
  commandRoute({
    ...agents,
    method: 'patch',
    id: 'changeAgent',
    summary: 'Change the user and the labels of an agent; disable or enable it.',
    scope: 'access:write',
    body: z.strictObject({
      acts_for: name.nullable().optional(),
      agent_labels: z.array(name).optional(),
      disabled: z.boolean().optional(),
    }),
    result: z.strictObject({
      name: z.string(),
      acts_for: z.string().nullable(),
      labels: z.array(z.string()),
      state: z.enum(['enabled', 'disabled']),
      changed: z.boolean(),
    }),
    commands: ['agent set'],
    call: ({ params, body: { acts_for, agent_labels, disabled } }) => ({
      command: 'agent set',
      args: [params['agent']],
      options: {
        for: acts_for === null ? false : acts_for,
        agentLabel: agent_labels?.length === 0 ? false : agent_labels,
        ...(disabled === undefined ? {} : disabled ? { disable: true } : { enable: true }),
      },
    }),
  }),
  commandRoute({
    ...agents,
    method: 'post',
    path: '/v2/agents/{agent}/bind',
    id: 'bindAgent',
    summary: 'Let an agent use more grants, or fewer with `remove`.',
    scope: 'access:write',
    body: binding.extend({
      remove: z.boolean().optional(),
      all: z.boolean().optional().describe('With `remove`: all bindings.'),
    }),
    result: boundAgent,
    commands: ['agent bind'],
    call: ({ params, body: { remove, all, ...rest } }) => ({
      command: 'agent bind',
      args: [params['agent']],
      options: { ...bindingOptions(rest), remove, all },
    }),
  }),
  commandRoute({
    ...agents,
    method: 'post',
    path: '/v2/agents/{agent}/rotate',
    id: 'rotateAgent',
    summary: 'Create a token that replaces the one before. The answer has it, once.',
    scope: 'access:write',
    body: z.strictObject({
      overlap: span.optional().describe('Time for which the old token stays valid.'),
      token_label: name.optional(),
      all: z.boolean().optional(),
      expires: tokenEnd,
    }),
    result: z.strictObject({
      name: z.string(),
      token: z.string(),
      proxy_url: z.string(),
      label: z.string(),
      expires_at: timeOrNull,
      replaced: z.int(),
    }),
    commands: ['agent rotate'],
    call: ({ params, body: { overlap, token_label, all, expires } }) => ({
      command: 'agent rotate',
      args: [params['agent']],
      options: { overlap, tokenLabel: token_label, all, expires },
    }),
  }),
  commandRoute({
    ...agents,
    method: 'delete',
    id: 'removeAgent',
    summary: 'Remove an agent with its tokens, bindings and leases; or only its tokens of a label.',
    scope: 'access:write',
    query: z.strictObject({ token_label: name.optional() }),
    result: z.union([
      z.strictObject({ name: z.string(), removed: z.literal(true) }),
      z.strictObject({ name: z.string(), label: z.string(), revoked: z.int() }),
    ]),
    commands: ['agent remove'],
    call: ({ params, query }) => ({
      command: 'agent remove',
      args: [params['agent']],
      options: { tokenLabel: query.token_label },
    }),
  }),
];
