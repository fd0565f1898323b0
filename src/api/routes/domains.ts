import { z } from 'zod';
import { type AnyRoute, route } from '../route.ts';
import {
  allowHost,
  denyHost,
  getDomain,
  listDomains,
  previewDomain,
  removeHost,
  tunnelHost,
} from '../../operations/domain.ts';
import { explainRequest } from '../../operations/explain.ts';
import { text } from '../../operations/members.ts';
import { getProvider, listProviders } from '../../operations/provider.ts';
import { changeProvider, defineProvider } from '../../operations/provider-change.ts';
import { callOperation, operationRoute } from '../operation-route.ts';

/** Routes of the allowed-domains map, of providers, and of explanations. */

export const domainRoutes: readonly AnyRoute[] = [
  operationRoute(listDomains, 'GET /v2/domains', { id: 'listDomains', list: 'domain' }),
  operationRoute(previewDomain, 'POST /v2/domains/preview', { id: 'previewDomain', command: 'domain allow' }),
  operationRoute(getDomain, 'GET /v2/domains/{host}', { id: 'getDomain', command: 'domain list' }),
  route({
    method: 'put',
    path: '/v2/domains/{host}',
    id: 'putDomain',
    operations: [allowHost.id, tunnelHost.id, denyHost.id],
    tag: 'Domains',
    summary: 'Write an entry of the map into the config file.',
    scope: 'config:write',
    body: z.discriminatedUnion('action', [
      z.strictObject({ action: z.literal('grant'), ...allowHost.input.omit({ host: true }).shape }),
      z.strictObject({ action: z.literal('tunnel') }),
      z.strictObject({ action: z.literal('deny') }),
    ]),
    result: allowHost.output,
    commands: ['domain allow', 'domain tunnel', 'domain deny'],
    async handle({ params: { host = '' }, body: { action, ...body }, caller }, parts) {
      if ('grant' in body) return callOperation(allowHost, { host, ...body }, caller, parts);
      return callOperation(action === 'deny' ? denyHost : tunnelHost, { host }, caller, parts);
    },
  }),
  operationRoute(removeHost, 'DELETE /v2/domains/{host}', { id: 'removeDomain' }),
  operationRoute(listProviders, 'GET /v2/providers', {
    id: 'listProviders',
    list: 'name',
    owner: ({ caller }) => caller.user,
  }),
  operationRoute(getProvider, 'GET /v2/providers/{provider}', {
    id: 'getProvider',
    owner: ({ caller }) => caller.user,
    command: 'provider show',
  }),
  operationRoute(defineProvider, 'POST /v2/providers', {
    id: 'defineProvider',
    status: 201,
    command: null,
  }),
  operationRoute(changeProvider, 'PATCH /v2/providers/{provider}', {
    id: 'changeProvider',
    command: null,
  }),
  route({
    method: 'post',
    path: '/v2/explain',
    id: 'explainRequest',
    operations: [explainRequest.id],
    tag: 'Domains',
    summary: explainRequest.summary,
    scope: explainRequest.scope,
    // Callers of the API cannot keep the proxy busy with one long text, as a person at the machine may.
    body: explainRequest.input.omit({ bytes: true }).extend({
      method: z.string().max(32).optional(),
      url: text,
      headers: z.array(text).optional().describe('`Name: value`.'),
    }),
    result: explainRequest.output,
    commands: ['explain'],
    handle: async ({ body, caller }, parts) => callOperation(explainRequest, body, caller, parts),
  }),
];
