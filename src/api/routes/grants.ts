import { z } from 'zod';
import { SidekeyError } from '../../lib/errors.ts';
import type { Caller } from '../caller.ts';
import type { ServiceParts } from '../parts.ts';
import { type AnyRoute, commandRoute, type Given } from '../route.ts';
import { name, span, text } from '../../operations/members.ts';
import { removeGrant, revokeGrant } from '../../operations/grant-end.ts';
import { addGrant } from '../../operations/grant-import.ts';
import { refreshGrant } from '../../operations/grant-refresh.ts';
import { type AnyGiven, operationRoute } from '../operation-route.ts';
import { grant, grantInList, grantSettings } from '../schemas.ts';

/** Routes of grants. An id names a grant, or a name with, if ambiguous, a user. */

const user = name.optional().describe('The owner, where several users have a grant of that name.');

const ofUser = z.strictObject({ user });

type OfUser = { readonly user?: string | undefined };

/** Returns the owner of the grant that a request names. */
async function ownerOf(
  { params, query, caller }: Pick<AnyGiven, 'params' | 'query' | 'caller'>,
  { grants }: ServiceParts,
): Promise<string | null> {
  const wanted = userOf(caller, query?.['user'] as string | undefined);
  const found = (await grants.list()).filter(
    ({ id, name: of }) => id === params['grant'] || of === params['grant'],
  );
  const [only, ...more] = found.filter((each) => wanted === undefined || each.user === wanted);
  return only !== undefined && more.length === 0 ? only.user : null;
}

/** A caller that is limited to a user gets only that user's grants. */
function userOf({ user: limited }: Caller, asked: string | undefined): string | undefined {
  return asked ?? limited ?? undefined;
}

/** Returns the query, limited to the caller's user if it has one. */
function own<Query extends OfUser>({
  query,
  caller,
}: Pick<Given<Query, unknown>, 'query' | 'caller'>): Query {
  return { ...query, user: userOf(caller, query.user) };
}

/**
 * Refuses changes of the operator's settings to a caller that is limited to a user: maxima, and the labels
 * and metadata that agents are bound by.
 *
 * @throws SidekeyError `scope_missing`
 */
export function assertOwnSettings(body: object, { name: who, user: limited }: Caller): void {
  const own = ['expires', 'ttl', 'lease_ttl', 'scopes'];
  const beyond = limited === null ? undefined : Object.keys(body).find((each) => !own.includes(each));
  if (beyond === undefined) return;
  throw new SidekeyError('scope_missing', `${who} cannot change ${beyond}: an operator decides it.`);
}

const one = {
  tag: 'Grants',
  path: '/v2/grants/{grant}',
  query: ofUser,
  owner: ownerOf,
} as const;

const spanOrNone = z.union([span, z.literal('none')]).optional();

export const grantRoutes: readonly AnyRoute[] = [
  commandRoute({
    method: 'get',
    path: '/v2/grants',
    id: 'listGrants',
    tag: 'Grants',
    summary: 'List the grants.',
    scope: 'grants:read',
    query: z.strictObject({ user: name.optional().describe('Only the grants of this owner.') }),
    owner: ({ query, caller }) => userOf(caller, query.user) ?? null,
    result: grantInList,
    list: ({ id }: z.output<typeof grantInList>) => id,
    commands: ['grant list'],
    call: ({ query, caller }) => ({ command: 'grant list', options: { user: userOf(caller, query.user) } }),
  }),
  commandRoute({
    ...one,
    method: 'get',
    id: 'getGrant',
    summary: 'Show a grant, without its secret.',
    scope: 'grants:read',
    result: grant,
    commands: ['grant list'],
    call: ({ params, ...given }) => ({
      command: 'grant list',
      args: [params['grant']],
      options: own(given),
    }),
  }),
  operationRoute(addGrant, 'POST /v2/grants', {
    id: 'addGrant',
    status: 201,
    command: 'grant import',
    owner: ({ body, caller }) => userOf(caller, body?.['user'] as string | undefined) ?? null,
  }),
  commandRoute({
    ...one,
    method: 'patch',
    id: 'changeGrant',
    summary: 'Change the expiry, the lease times, the labels, the metadata or the scopes of a grant.',
    scope: 'grants:write',
    body: z.strictObject({
      expires: text.optional().describe('30d, a date, or none.'),
      ttl: span.optional(),
      max_ttl: spanOrNone,
      lease_ttl: spanOrNone,
      max_lease_ttl: spanOrNone,
      labels: z.array(name).optional(),
      metadata: z
        .record(name, z.string().max(256))
        .optional()
        .describe('Added; an empty value removes its key.'),
      scopes: z.array(text).min(1).optional().describe('Those that it keeps, of the present ones.'),
    }),
    result: grantSettings,
    commands: ['grant set'],
    call({ params, body, ...given }) {
      assertOwnSettings(body, given.caller);
      return {
        command: 'grant set',
        args: [params['grant']],
        options: {
          ...own(given),
          expires: body.expires,
          ttl: body.ttl,
          maxTtl: body.max_ttl,
          leaseTtl: body.lease_ttl,
          maxLeaseTtl: body.max_lease_ttl,
          label: body.labels === undefined || body.labels.length > 0 ? body.labels : false,
          scope: body.scopes,
          meta: body.metadata && Object.entries(body.metadata).map(([key, value]) => `${key}=${value}`),
        },
      };
    },
  }),
  operationRoute(refreshGrant, 'POST /v2/grants/{grant}/refresh', {
    id: 'refreshGrant',
    command: 'grant refresh',
    query: ['user'],
    owner: ownerOf,
  }),
  operationRoute(revokeGrant, 'POST /v2/grants/{grant}/revoke', {
    id: 'revokeGrant',
    command: 'grant revoke',
    query: ['user'],
    owner: ownerOf,
  }),
  operationRoute(removeGrant, 'DELETE /v2/grants/{grant}', {
    id: 'removeGrant',
    command: 'grant remove',
    owner: ownerOf,
  }),
];
