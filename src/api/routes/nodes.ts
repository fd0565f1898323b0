import { listNodes, revokeNode } from '../../operations/node.ts';
import { operationRoute } from '../operation-route.ts';
import type { AnyRoute } from '../route.ts';

const tag = 'Status';

export const nodeRoutes: readonly AnyRoute[] = [
  operationRoute(listNodes, 'GET /v2/nodes', {
    id: 'listNodes',
    tag,
    list: ({ name }: { readonly name: string }) => name,
    commands: ['node list'],
  }),
  operationRoute(revokeNode, 'DELETE /v2/nodes/{node}', {
    id: 'revokeNode',
    tag,
    commands: ['node revoke'],
  }),
];
