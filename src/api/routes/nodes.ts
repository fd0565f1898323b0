import { listNodes, revokeNode } from '../../operations/node.ts';
import { operationRoute } from '../operation-route.ts';
import type { AnyRoute } from '../route.ts';

export const nodeRoutes: readonly AnyRoute[] = [
  operationRoute(listNodes, 'GET /v2/nodes', {
    id: 'listNodes',
    list: ({ name }: { readonly name: string }) => name,
    command: 'node list',
  }),
  operationRoute(revokeNode, 'DELETE /v2/nodes/{node}', { id: 'revokeNode', command: 'node revoke' }),
];
