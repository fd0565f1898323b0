import { z } from 'zod';
import { inputInvalid } from '../../lib/errors.ts';
import type { Caller } from '../caller.ts';
import { makeLoginCode } from '../login.ts';
import { revokeApiKey } from '../../operations/api-key.ts';
import { callOperation } from '../operation-route.ts';
import { type AnyRoute, route } from '../route.ts';

/** Routes of `sidekey login` and `sidekey logout`. */

const own = {
  tag: 'Keys',
  scope: null,
  owner: ({ caller }: { readonly caller: Caller }) => caller.user,
} as const;

export const loginRoutes: readonly AnyRoute[] = [
  route({
    ...own,
    method: 'post',
    path: '/v2/me/login-codes',
    id: 'createLoginCode',
    summary: 'Let a command line get a key of the signed-in person, of at most 12 hours.',
    body: z.strictObject({
      challenge: z
        .string()
        .regex(/^[\w-]{43}$/)
        .describe('SHA-256 of the verifier of the command line, in base64url (RFC 7636).'),
    }),
    status: 201,
    result: z.strictObject({ code: z.string() }),
    isRepeatable: true,
    handle: async ({ body, caller }, parts) => ({ code: await makeLoginCode(caller, body.challenge, parts) }),
  }),
  route({
    ...own,
    method: 'delete',
    path: '/v2/me/key',
    id: 'revokeOwnKey',
    summary: 'End the key of this request.',
    result: revokeApiKey.output,
    commands: ['api-key revoke'],
    async handle({ caller }, parts) {
      const { name, person } = caller;
      if (person === null)
        return callOperation(revokeApiKey, { key: name.replace(/^key /, '') }, caller, parts);
      throw inputInvalid('The request has no key.', 'a person signs out: POST /sign-out');
    },
  }),
];
