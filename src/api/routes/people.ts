import { z } from 'zod';
import { SidekeyError } from '../../lib/errors.ts';
import { assertRole } from '../../operations/caller.ts';
import { type AnyRoute, commandRoute, originOf, route } from '../route.ts';
import { name, time, timeOrNull } from '../../operations/members.ts';
import { roles, scopes } from '../../domain/scopes.ts';
import { makeSignInLink } from '../web-session.ts';

/** Routes of people. */

const person = z
  .strictObject({
    name: z.string(),
    role: z
      .enum([...roles, 'none'])
      .describe(
        'none: the account at the issuer of `admin.oidc` has no role any more, and the person is refused.',
      ),
    user: z.string().nullable(),
    identity: z
      .string()
      .nullable()
      .describe('Issuer and subject of the account that the person signs in with; null: there is none.'),
    state: z.enum(['enabled', 'disabled']),
    passkeys: z.array(
      z.strictObject({ id: z.string(), label: z.string(), created_at: time, used_at: timeOrNull }),
    ),
    created_at: time,
  })
  .meta({ id: 'Person' });

const one = { tag: 'People', path: '/v2/people/{person}' } as const;

export const peopleRoutes: readonly AnyRoute[] = [
  route({
    method: 'get',
    path: '/v2/me',
    id: 'getMe',
    tag: 'People',
    summary: 'Show the caller.',
    scope: null,
    owner: ({ caller }) => caller.user,
    result: z
      .strictObject({
        name: z.string(),
        role: z.enum(roles),
        user: z.string().nullable(),
        scopes: z.array(z.enum(scopes)),
      })
      .meta({ id: 'Me' }),
    handle: async ({ caller: { name: as, role, user, scopes: own } }) => ({
      name: as,
      role,
      user,
      scopes: [...own],
    }),
  }),
  commandRoute({
    method: 'get',
    path: '/v2/people',
    id: 'listPeople',
    tag: 'People',
    summary: 'List the people who sign in at the pages.',
    scope: 'config:read',
    result: person,
    list: ({ name: of }: z.output<typeof person>) => of,
    commands: ['person list'],
    call: () => ({ command: 'person list' }),
  }),
  commandRoute({
    ...one,
    method: 'get',
    id: 'getPerson',
    summary: 'Show a person.',
    scope: 'config:read',
    result: person,
    commands: ['person list'],
    call: ({ params }) => ({ command: 'person list', args: [params['person']] }),
  }),
  commandRoute({
    method: 'post',
    path: '/v2/people',
    id: 'createPerson',
    tag: 'People',
    summary: 'Create a person.',
    scope: 'config:write',
    body: z.strictObject({ name, role: z.enum(roles), user: name.optional() }),
    status: 201,
    result: person,
    commands: ['person create'],
    call({ body: { name: as, ...options }, caller }) {
      assertRole(options.role, caller);
      return { command: 'person create', args: [as], options };
    },
  }),
  commandRoute({
    ...one,
    method: 'patch',
    id: 'changePerson',
    summary: 'Change the role of a person; disable or enable the person.',
    scope: 'config:write',
    body: z.strictObject({ role: z.enum(roles).optional(), disabled: z.boolean().optional() }),
    result: person,
    commands: ['person set'],
    async call({ params, body: { role, disabled }, caller }, { store }) {
      assertRole((await store.people.get(params['person'] ?? ''))?.role, caller);
      assertRole(role, caller);
      const state = disabled === undefined ? {} : disabled ? { disable: true } : { enable: true };
      return { command: 'person set', args: [params['person']], options: { role, ...state } };
    },
  }),
  commandRoute({
    ...one,
    method: 'delete',
    id: 'removePerson',
    summary: 'Remove a person with passkeys and sessions.',
    scope: 'config:write',
    result: z.strictObject({ name: z.string(), removed: z.literal(true) }),
    commands: ['person remove'],
    async call({ params, caller }, { store }) {
      assertRole((await store.people.get(params['person'] ?? ''))?.role, caller);
      return { command: 'person remove', args: [params['person']] };
    },
  }),
  route({
    ...one,
    method: 'post',
    path: '/v2/people/{person}/link',
    id: 'linkPerson',
    summary: 'Make an address that signs a person in, once, within 10 minutes.',
    scope: 'config:write',
    result: z.strictObject({ name: z.string(), url: z.string(), expires_at: time }),
    commands: ['person link'],
    async handle({ params, caller }, parts) {
      const found = await parts.store.people.get(params['person'] ?? '');
      if (found === null || found.disabledAt !== null) {
        throw new SidekeyError('not_found', 'There is no enabled person of that name.', {
          hint: 'GET /v2/people',
        });
      }
      assertRole(found.role, caller);
      // A link would stay valid without the account, and work again when its role comes back.
      if (found.identity !== null) {
        throw new SidekeyError('input_invalid', `${found.name} signs in at the issuer of admin.oidc.`, {
          hint: `open ${parts.url()}/ to sign in there; an operator can print a link on the machine: sidekey person link ${found.name}`,
        });
      }
      await parts.audit.append({ event: 'person.linked', reason: found.name, ...originOf(caller) });
      const { path, expiresAt } = await makeSignInLink(parts, found.name);
      return { name: found.name, url: parts.url() + path, expires_at: new Date(expiresAt).toISOString() };
    },
  }),
];
