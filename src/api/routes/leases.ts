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

export const leaseRoutes: readonly AnyRoute[] = [
  operationRoute(listLeases, 'GET /v2/leases', { id: 'listLeases', list: 'id', command: 'lease list' }),
  operationRoute(getLease, 'GET /v2/leases/{lease}', { id: 'getLease', command: 'lease list' }),
  operationRoute(createLease, 'POST /v2/leases', { id: 'createLease', status: 201, command: 'lease create' }),
  operationRoute(renewLease, 'POST /v2/leases/{lease}/renew', { id: 'renewLease', command: 'lease renew' }),
  operationRoute(revokeLease, 'POST /v2/leases/{lease}/revoke', {
    id: 'revokeLease',
    command: 'lease revoke',
  }),
  operationRoute(revokeLeases, 'POST /v2/leases/revoke', { id: 'revokeLeases', command: 'lease revoke' }),
];
