import { z } from 'zod';
import { roles, scopes } from '../../domain/scopes.ts';
import { createApiKey, listApiKeys, revokeApiKey } from '../../operations/api-key.ts';
import {
  changePerson,
  createPerson,
  getPerson,
  linkPerson,
  listPeople,
  removePerson,
} from '../../operations/person.ts';
import { operationRoute } from '../operation-route.ts';
import { type AnyRoute, route } from '../route.ts';
import { named } from '../../operations/members.ts';

/** Routes of the callers of the API: keys and people. */

export const peopleRoutes: readonly AnyRoute[] = [
  operationRoute(listApiKeys, 'GET /v2/api-keys', { id: 'listApiKeys', list: 'name' }),
  operationRoute(createApiKey, 'POST /v2/api-keys', { id: 'createApiKey', status: 201 }),
  operationRoute(revokeApiKey, 'DELETE /v2/api-keys/{key}', { id: 'revokeApiKey' }),
  route({
    method: 'get',
    path: '/v2/me',
    id: 'getMe',
    tag: 'People',
    summary: 'Show the caller.',
    scope: null,
    owner: ({ caller }) => caller.user,
    result: named('Me', {
      name: z.string(),
      role: z.enum(roles),
      user: z.string().nullable(),
      scopes: z.array(z.enum(scopes)),
    }),
    handle: async ({ caller: { name, role, user, scopes: own } }) => ({ name, role, user, scopes: [...own] }),
  }),
  operationRoute(listPeople, 'GET /v2/people', { id: 'listPeople', list: 'name' }),
  operationRoute(getPerson, 'GET /v2/people/{person}', { id: 'getPerson', command: 'person list' }),
  operationRoute(createPerson, 'POST /v2/people', { id: 'createPerson', status: 201 }),
  operationRoute(changePerson, 'PATCH /v2/people/{person}', { id: 'changePerson', command: 'person set' }),
  operationRoute(removePerson, 'DELETE /v2/people/{person}', { id: 'removePerson' }),
  operationRoute(linkPerson, 'POST /v2/people/{person}/link', { id: 'linkPerson' }),
];
