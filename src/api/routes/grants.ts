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

/** One grant, which a query may name with its user. */
const ofGrant = { query: ['user'], owner: ownerOf };

export const grantRoutes: readonly AnyRoute[] = [
  operationRoute(listGrants, 'GET /v2/grants', { id: 'listGrants', list: 'id', owner: userOf }),
  operationRoute(getGrant, 'GET /v2/grants/{grant}', { ...ofGrant, id: 'getGrant', command: 'grant list' }),
  operationRoute(compareScopes, 'GET /v2/grants/{grant}/scopes', { ...ofGrant, id: 'compareScopes' }),
  operationRoute(addGrant, 'POST /v2/grants', {
    id: 'addGrant',
    status: 201,
    command: 'grant import',
    owner: userOf,
  }),
  operationRoute(replaceGrant, 'PUT /v2/grants/{grant}/credential', {
    ...ofGrant,
    id: 'replaceGrant',
    command: 'grant import',
  }),
  operationRoute(changeGrant, 'PATCH /v2/grants/{grant}', {
    ...ofGrant,
    id: 'changeGrant',
    command: 'grant set',
  }),
  operationRoute(refreshGrant, 'POST /v2/grants/{grant}/refresh', { ...ofGrant, id: 'refreshGrant' }),
  operationRoute(revokeGrant, 'POST /v2/grants/{grant}/revoke', { ...ofGrant, id: 'revokeGrant' }),
  operationRoute(listLogins, 'GET /v2/logins', { id: 'listLogins', list: 'provider', command: null }),
  operationRoute(connectLogin, 'POST /v2/logins/{provider}', {
    id: 'connectLogin',
    status: 201,
    command: null,
  }),
  operationRoute(removeGrant, 'DELETE /v2/grants/{grant}', { ...ofGrant, id: 'removeGrant' }),
];
