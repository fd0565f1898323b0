import { createApiKey, listApiKeys, revokeApiKey } from '../../operations/api-key.ts';
import { operationRoute } from '../operation-route.ts';
import type { AnyRoute } from '../route.ts';

export const apiKeyRoutes: readonly AnyRoute[] = [
  operationRoute(listApiKeys, 'GET /v2/api-keys', { id: 'listApiKeys', list: 'name' }),
  operationRoute(createApiKey, 'POST /v2/api-keys', { id: 'createApiKey', status: 201 }),
  operationRoute(revokeApiKey, 'DELETE /v2/api-keys/{key}', { id: 'revokeApiKey' }),
];
