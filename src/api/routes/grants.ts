import { isId } from '../../domain/grant.ts';
import { changeGrant, getGrant, listGrants } from '../../operations/grant.ts';
import { addGrant, replaceGrant } from '../../operations/grant-add.ts';
import { removeGrant, revokeGrant } from '../../operations/grant-end.ts';
import { refreshGrant } from '../../operations/grant-refresh.ts';
import { compareScopes } from '../../operations/grant-scopes.ts';
import { connectLogin, listLogins } from '../../operations/login.ts';
import { type AnyGiven, operationRoute } from '../operation-route.ts';
import type { ServiceParts } from '../parts.ts';
import type { AnyRoute } from '../route.ts';

/** Routes of grants. An id names a grant, or a name with, if ambiguous, a user. */

/** Returns the owner of the grant that a request names; null: no grant, or grants of several users. */
async function ownerOf(given: AnyGiven, { store }: ServiceParts): Promise<string | null> {
  const { grant = '' } = given.params;
  const user = userOf(given);
  const byId = isId(grant) ? await store.grants.get(grant) : null;
  const users = user === null ? {} : { users: [user] };
  const named = byId === null ? await store.grants.find({ name: grant, ...users, limit: 2 }) : [byId];
  const [only, ...more] = named.filter((each) => user === null || each.user === user);
  return only !== undefined && more.length === 0 ? only.user : null;
}

/** Returns the user that a request names, or else the only user of its caller; null: any user. */
function userOf({ query, body, caller }: AnyGiven): string | null {
  return ((query?.['user'] ?? body?.['user']) as string | undefined) ?? caller.user;
}

export const grantRoutes: readonly AnyRoute[] = [
  operationRoute(listGrants, 'GET /v2/grants', { id: 'listGrants', list: 'id', owner: userOf }),
  operationRoute(getGrant, 'GET /v2/grants/{grant}', {
    id: 'getGrant',
    command: 'grant list',
    owner: ownerOf,
  }),
  operationRoute(compareScopes, 'GET /v2/grants/{grant}/scopes', { id: 'compareScopes', owner: ownerOf }),
  operationRoute(addGrant, 'POST /v2/grants', {
    id: 'addGrant',
    status: 201,
    command: 'grant import',
    owner: userOf,
  }),
  operationRoute(replaceGrant, 'PUT /v2/grants/{grant}/credential', {
    id: 'replaceGrant',
    command: 'grant import',
    query: ['user'],
    owner: ownerOf,
  }),
  operationRoute(changeGrant, 'PATCH /v2/grants/{grant}', {
    id: 'changeGrant',
    command: 'grant set',
    query: ['user'],
    owner: ownerOf,
  }),
  operationRoute(refreshGrant, 'POST /v2/grants/{grant}/refresh', {
    id: 'refreshGrant',
    query: ['user'],
    owner: ownerOf,
  }),
  operationRoute(revokeGrant, 'POST /v2/grants/{grant}/revoke', {
    id: 'revokeGrant',
    query: ['user'],
    owner: ownerOf,
  }),
  operationRoute(listLogins, 'GET /v2/logins', { id: 'listLogins', list: 'provider', command: null }),
  operationRoute(connectLogin, 'POST /v2/logins/{provider}', {
    id: 'connectLogin',
    status: 201,
    command: null,
  }),
  operationRoute(removeGrant, 'DELETE /v2/grants/{grant}', { id: 'removeGrant', owner: ownerOf }),
];
