import {
  createLease,
  getLease,
  listLeases,
  renewLease,
  revokeLease,
  revokeLeases,
} from '../../operations/lease.ts';
import { operationRoute } from '../operation-route.ts';
import type { AnyRoute } from '../route.ts';

const tag = 'Leases';

export const leaseRoutes: readonly AnyRoute[] = [
  operationRoute(listLeases, 'GET /v2/leases', {
    id: 'listLeases',
    tag,
    list: ({ id }: { readonly id: string }) => id,
    commands: ['lease list'],
  }),
  operationRoute(getLease, 'GET /v2/leases/{lease}', { id: 'getLease', tag, commands: ['lease list'] }),
  operationRoute(createLease, 'POST /v2/leases', {
    id: 'createLease',
    tag,
    status: 201,
    commands: ['lease create'],
  }),
  operationRoute(renewLease, 'POST /v2/leases/{lease}/renew', {
    id: 'renewLease',
    tag,
    commands: ['lease renew'],
  }),
  operationRoute(revokeLease, 'POST /v2/leases/{lease}/revoke', {
    id: 'revokeLease',
    tag,
    commands: ['lease revoke'],
  }),
  operationRoute(revokeLeases, 'POST /v2/leases/revoke', {
    id: 'revokeLeases',
    tag,
    commands: ['lease revoke'],
  }),
];
