import { createApiKey, listApiKeys, revokeApiKey } from '../../operations/api-key.ts';
import { operationRoute } from '../operation-route.ts';
import type { AnyRoute } from '../route.ts';

const tag = 'Keys';

export const apiKeyRoutes: readonly AnyRoute[] = [
  operationRoute(listApiKeys, 'GET /v2/api-keys', {
    id: 'listApiKeys',
    tag,
    list: ({ name }: { readonly name: string }) => name,
    commands: ['api-key list'],
  }),
  operationRoute(createApiKey, 'POST /v2/api-keys', {
    id: 'createApiKey',
    tag,
    status: 201,
    commands: ['api-key create'],
  }),
  operationRoute(revokeApiKey, 'DELETE /v2/api-keys/{key}', {
    id: 'revokeApiKey',
    tag,
    commands: ['api-key revoke'],
  }),
];
