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
  operationRoute(listLeases, 'GET /v2/leases', { id: 'listLeases', list: 'id' }),
  operationRoute(getLease, 'GET /v2/leases/{lease}', { id: 'getLease', command: 'lease list' }),
  operationRoute(createLease, 'POST /v2/leases', { id: 'createLease', status: 201 }),
  operationRoute(renewLease, 'POST /v2/leases/{lease}/renew', { id: 'renewLease' }),
  operationRoute(revokeLease, 'POST /v2/leases/{lease}/revoke', { id: 'revokeLease' }),
  operationRoute(revokeLeases, 'POST /v2/leases/revoke', { id: 'revokeLeases', command: 'lease revoke' }),
];
