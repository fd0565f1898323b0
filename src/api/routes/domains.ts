import { z } from 'zod';
import { operationRoute } from '../operation-route.ts';
import { type AnyRoute, commandRoute, route } from '../route.ts';
import { explainRequest } from '../../operations/explain.ts';
import { text } from '../../operations/members.ts';
import { allowDomain, removeDomain, setDomain } from '../../config/edit.ts';

/** Routes of the allowed-domains map, of providers, and of explanations. */

const domains = { tag: 'Domains', path: '/v2/domains/{host}' } as const;

const rule = z.looseObject({ name: z.string().nullable(), outcome: z.string(), text: z.string() });

const domain = z
  .strictObject({
    domain: z.string().describe('`host`, `host:port` or `*.suffix`.'),
    action: z.enum(['grant', 'tunnel', 'deny']),
    origin: z.string().describe('Place in the config file.'),
    grant: z.string().optional(),
    allow_plain_http: z.boolean().optional(),
    leak_guard: z.string().optional(),
    leak_limit: z.unknown().optional(),
    foreign_credentials: z.string().optional(),
    also: z.array(z.string()).optional(),
    grants: z
      .array(z.strictObject({ id: z.uuid(), name: z.string(), user: z.string(), state: z.string() }))
      .optional(),
    mode: z.string().optional(),
    default: z.string().optional(),
    rules: z.array(rule).optional(),
  })
  .meta({ id: 'Domain' });

const changedDomain = z
  .strictObject({
    domain: z.string(),
    change: z.enum(['added', 'replaced', 'removed', 'unchanged']),
    says: z.string(),
    config: z.string(),
    warnings: z.array(z.string()),
  })
  .meta({ id: 'ChangedDomain' });

const provider = z
  .looseObject({ name: z.string(), title: z.string(), category: z.string() })
  .meta({ id: 'Provider' });

export const domainRoutes: readonly AnyRoute[] = [
  commandRoute({
    method: 'get',
    path: '/v2/domains',
    id: 'listDomains',
    tag: 'Domains',
    summary: 'List the allowed-domains map, with its rules.',
    scope: 'access:read',
    result: domain,
    list: ({ domain: key }: z.output<typeof domain>) => key,
    commands: ['domain list'],
    call: () => ({ command: 'domain list' }),
  }),
  route({
    method: 'post',
    path: '/v2/domains/preview',
    id: 'previewDomain',
    tag: 'Domains',
    summary: 'Return the text of the config file after a change of the map; write nothing.',
    scope: 'config:read',
    body: z.strictObject({
      text: z.string().max(1_048_576).describe('Text of the config file.'),
      host: text,
      action: z.enum(['grant', 'tunnel', 'deny', 'remove']),
      grant: text.optional(),
    }),
    result: z.strictObject({ text: z.string(), change: z.string() }),
    async handle({ body: { text: before, host, action, grant = '' } }) {
      const edited =
        action === 'grant'
          ? allowDomain(before, host, grant, { allowPlainHttp: false })
          : action === 'remove'
            ? removeDomain(before, host)
            : setDomain(before, host, action);
      return { text: edited.text, change: edited.change };
    },
  }),
  commandRoute({
    ...domains,
    method: 'get',
    id: 'getDomain',
    summary: 'Show the entry that covers a host, as an array of one.',
    scope: 'access:read',
    result: z.array(domain),
    commands: ['domain list'],
    call: ({ params }) => ({ command: 'domain list', args: [params['host']] }),
  }),
  commandRoute({
    ...domains,
    method: 'put',
    id: 'putDomain',
    summary: 'Write an entry of the map into the config file.',
    scope: 'config:write',
    body: z.discriminatedUnion('action', [
      z.strictObject({ action: z.literal('grant'), grant: text, allow_plain_http: z.boolean().optional() }),
      z.strictObject({ action: z.literal('tunnel') }),
      z.strictObject({ action: z.literal('deny') }),
    ]),
    result: changedDomain,
    commands: ['domain allow', 'domain tunnel', 'domain deny'],
    call: ({ params, body }) =>
      body.action === 'grant'
        ? {
            command: 'domain allow',
            args: [params['host']],
            options: { grant: body.grant, allowPlainHttp: body.allow_plain_http },
          }
        : { command: `domain ${body.action}`, args: [params['host']] },
  }),
  commandRoute({
    ...domains,
    method: 'delete',
    id: 'removeDomain',
    summary: 'Remove an entry of the map from the config file.',
    scope: 'config:write',
    result: changedDomain,
    commands: ['domain remove'],
    call: ({ params }) => ({ command: 'domain remove', args: [params['host']] }),
  }),
  commandRoute({
    method: 'get',
    path: '/v2/providers',
    id: 'listProviders',
    tag: 'Providers',
    summary: 'List the providers.',
    scope: 'grants:read',
    query: z.strictObject({
      text: text.optional().describe('Only those with this text in their name, title or category.'),
    }),
    owner: ({ caller }) => caller.user,
    result: provider,
    list: ({ name }: z.output<typeof provider>) => name,
    commands: ['provider list'],
    call: ({ query }) => ({ command: 'provider list', args: [query.text] }),
  }),
  commandRoute({
    method: 'get',
    path: '/v2/providers/{provider}',
    id: 'getProvider',
    tag: 'Providers',
    summary: 'Show how to connect to a provider, and which hosts get its tokens.',
    scope: 'grants:read',
    owner: ({ caller }) => caller.user,
    result: provider,
    commands: ['provider show'],
    call: ({ params }) => ({ command: 'provider show', args: [params['provider']] }),
  }),
  operationRoute(explainRequest, 'POST /v2/explain', { id: 'explainRequest', command: 'explain' }),
];
