import type { RegistrationResponseJSON } from '@simplewebauthn/server';
import { z } from 'zod';
import { recordChange } from '../../audit/log.ts';
import { SidekeyError } from '../../lib/errors.ts';
import type { Caller } from '../caller.ts';
import { createPasskeys } from '../passkeys.ts';
import { type AnyRoute, originOf, route } from '../route.ts';
import { membersOf, named, passkeyMembers, text } from '../../operations/members.ts';

/** Routes of the signed-in person's passkeys. */

const passkey = named('Passkey', passkeyMembers);

/** `RegistrationResponseJSON` of WebAuthn level 3, as `PublicKeyCredential.toJSON` returns it. */
const response = z.looseObject({
  id: text,
  rawId: text,
  type: z.literal('public-key'),
  clientExtensionResults: z.looseObject({}),
  response: z.looseObject({ clientDataJSON: text, attestationObject: z.string().max(65_536) }),
});

const own = {
  tag: 'Passkeys',
  path: '/v2/me/passkeys',
  scope: null,
  owner: ({ caller }: { readonly caller: Caller }) => caller.user,
} as const;

/** @throws SidekeyError `scope_missing` for a key */
function personOf({ person, name }: Caller): string {
  if (person !== null) return person;
  throw new SidekeyError('scope_missing', `${name} is no person, and has no passkeys.`, {
    hint: 'sign in at the pages',
  });
}

export const passkeyRoutes: readonly AnyRoute[] = [
  route({
    ...own,
    method: 'get',
    id: 'listPasskeys',
    summary: 'List the passkeys of the signed-in person.',
    result: passkey,
    list: ({ id }: z.output<typeof passkey>) => id,
    handle: async ({ caller }, { store }) =>
      (await store.people.passkeys.list(personOf(caller))).map((each) => membersOf(passkeyMembers, each)),
  }),
  route({
    ...own,
    method: 'post',
    path: '/v2/me/passkeys/options',
    id: 'createPasskeyOptions',
    summary: 'Return the options of navigator.credentials.create(), good for 5 minutes.',
    result: z.looseObject({ challenge: z.string() }),
    handle: ({ caller, origin }, parts) => createPasskeys(parts).creationOptions(personOf(caller), origin),
  }),
  route({
    ...own,
    method: 'post',
    id: 'addPasskey',
    summary: 'Add a passkey to the signed-in person.',
    body: z.strictObject({ label: text.max(60), response }),
    status: 201,
    result: passkey,
    async handle({ caller, origin, body }, parts) {
      const made = { label: body.label, response: body.response as unknown as RegistrationResponseJSON };
      const added = await createPasskeys(parts).created(personOf(caller), origin, made);
      const reason = `${added.person}, passkey added: ${added.label}`;
      await recordChange(parts.audit, { event: 'person.changed', reason, ...originOf(caller) }, () =>
        parts.store.people.passkeys.insert(added),
      );
      return membersOf(passkeyMembers, added);
    },
  }),
  route({
    ...own,
    method: 'delete',
    path: '/v2/me/passkeys/{passkey}',
    id: 'removePasskey',
    summary: 'Remove a passkey of the signed-in person.',
    status: 204,
    async handle({ caller, params }, { store, audit }) {
      const person = personOf(caller);
      const passkeys = await store.people.passkeys.list(person);
      const found = passkeys.find(({ id }) => id === params['passkey']);
      if (found === undefined) {
        throw new SidekeyError('not_found', 'There is no such passkey.', { hint: 'GET /v2/me/passkeys' });
      }
      const reason = `${person}, passkey removed: ${found.label}`;
      await recordChange(audit, { event: 'person.changed', reason, ...originOf(caller) }, () =>
        store.people.passkeys.remove(person, found.id),
      );
    },
  }),
];
