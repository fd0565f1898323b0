import { z } from 'zod';
import { recordChange } from '../audit/log.ts';
import type { Config } from '../config/config.ts';
import { type Role, roles } from '../domain/scopes.ts';
import { inputInvalid, SidekeyError } from '../lib/errors.ts';
import { hintOf, remedy } from '../lib/hint.ts';
import { orMeant } from '../lib/text.ts';
import type { PasskeyRecord, PersonRecord, Store } from '../store/store.ts';
import { assertRole } from './caller.ts';
import { findNamed } from './find.ts';
import { isoTime } from './format.ts';
import { enabledState, membersOf, named, passkeyMembers, text, time, userName } from './members.ts';
import { type Changing, changing, reading } from './operation.ts';
import { namePlace, pageInput, pageOf } from './paging.ts';
import { type LinkKind, makeSignInLink } from './sign-in-link.ts';

/** People: those who sign in at the pages. */

const personShape = named('Person', {
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
  passkeys: z.array(z.strictObject(passkeyMembers)),
  created_at: time,
});

function personAnswer(
  person: PersonRecord & { readonly passkeys: readonly PasskeyRecord[] },
): z.input<typeof personShape> {
  return membersOf(personShape.shape, {
    ...person,
    state: enabledState(person),
    passkeys: person.passkeys.map((passkey) => membersOf(passkeyMembers, passkey)),
  });
}

export const listPeople = reading({
  id: 'person.list',
  summary: 'List the people who sign in at the pages.',
  scope: 'config:read',
  input: z.strictObject(pageInput),
  output: z.array(personShape),
  async run({ store }, page) {
    const { rows, next } = await pageOf(page, {
      place: namePlace,
      read: async (query) => (await store?.people.list(query)) ?? [],
    });
    return { people: store === null ? [] : await withPasskeys(store, rows), next };
  },
  next: ({ next }) => next,
  answer: ({ people }) => people.map(personAnswer),
});

export const getPerson = reading({
  id: 'person.get',
  summary: 'Show a person.',
  scope: 'config:read',
  input: z.strictObject({ person: text }),
  output: personShape,
  async run({ store }, { person }) {
    if (store === null) throw unknownPerson(person, []);
    return (await withPasskeys(store, [await pickPerson(store, person)]))[0]!;
  },
  answer: personAnswer,
});

export const createPerson = changing({
  id: 'person.create',
  summary: 'Create a person.',
  scope: 'config:write',
  input: z.strictObject({ name: userName, role: z.enum(roles), user: userName.optional() }),
  output: personShape,
  run: addPerson,
  answer: personAnswer,
});

export const changePerson = changing({
  id: 'person.change',
  summary: 'Change the role of a person; disable or enable the person.',
  scope: 'config:write',
  input: z.strictObject({
    person: text,
    role: z.enum(roles).optional(),
    disabled: z.boolean().optional(),
    subject: text.min(1, 'is empty').optional(),
  }),
  // The owner of a linked account signs in as the person, with the role that the claims of the account give.
  machineOnly: ['subject'],
  output: personShape,
  check({ person, ...changes }) {
    if (Object.values(changes).some((value) => value !== undefined)) return;
    throw new SidekeyError('input_invalid', 'No option says what to change.', {
      hint: hintOf`${remedy('person.change', { person, role: 'auditor' })}; --disable; --enable; --subject SUBJECT`,
    });
  },
  async run({ store, audit, config, caller }, { person, role, disabled, subject }, at) {
    const before = await pickPerson(store, person);
    assertRole(before.role, caller);
    assertRole(role, caller);
    const change = {
      ...(role === undefined ? {} : { role }),
      ...(disabled === undefined ? {} : { disabledAt: disabled ? at : null }),
      ...(subject === undefined ? {} : { identity: identityIn(config, subject) }),
    };
    const after = { ...before, ...change };
    const linked = subject === undefined ? '' : `, linked to ${after.identity}`;
    const reason = `${person}, role ${after.role}, ${enabledState(after)}${linked}`;
    // After a change of the account, the former holder of the name may be somebody else.
    const endsAt = disabled === true || after.identity !== before.identity ? at : undefined;
    await recordChange(audit, { event: 'person.changed', reason }, async () => {
      if (!(await store.people.change(person, change, endsAt))) throw unknownPerson(person, []);
    });
    return (await withPasskeys(store, [after]))[0]!;
  },
  answer: personAnswer,
});

export const removePerson = changing({
  id: 'person.remove',
  summary: 'Remove a person with passkeys and sessions.',
  scope: 'config:write',
  input: z.strictObject({ person: text }),
  output: z.strictObject({ name: z.string(), removed: z.literal(true) }),
  async run({ store, audit, caller }, { person }, at) {
    assertRole((await pickPerson(store, person)).role, caller);
    await recordChange(audit, { event: 'person.removed', reason: person }, async () => {
      await store.people.change(person, {}, at);
      if (!(await store.people.remove(person))) throw unknownPerson(person, []);
    });
    return person;
  },
  answer: (person) => ({ name: person, removed: true as const }),
});

export const linkPerson = changing({
  id: 'person.link',
  summary: 'Make an address that signs a person in, once, within 10 minutes.',
  scope: 'config:write',
  input: z.strictObject({ person: text }),
  output: z.strictObject({ name: z.string(), url: z.string(), expires_at: time }),
  run: (parts, { person }) => linkFor(parts, person, 'sign-in'),
  answer: ({ person, url, expiresAt }) => ({ name: person, url, expires_at: isoTime(expiresAt) }),
});

/** Creates a person. @throws SidekeyError `scope_missing`, `already_exists` */
export async function addPerson(
  { store, audit, caller }: Changing,
  {
    name: as,
    role,
    user,
  }: { readonly name: string; readonly role: Role; readonly user?: string | undefined },
  at: number,
) {
  assertRole(role, caller);
  const person: PersonRecord = {
    name: as,
    role,
    user: user ?? null,
    disabledAt: null,
    createdAt: at,
    identity: null,
    generation: 0,
  };
  await recordChange(audit, { event: 'person.created', user, reason: `${as}, role ${role}` }, () =>
    store.people.insert(person),
  );
  return { ...person, passkeys: [] };
}

/** Makes a link that signs a person in. @throws SidekeyError as `pagesFor` */
export async function linkFor(parts: Changing, person: string, kind: LinkKind) {
  const pages = await pagesFor(parts, person);
  await parts.audit.append({ event: 'person.linked', reason: person });
  const { path, expiresAt } = await makeSignInLink(parts, person, kind);
  return { person, url: pages + path, expiresAt };
}

/**
 * Returns the address of the pages, for a link of a person.
 *
 * @throws SidekeyError if there is no such address, or if the caller may make no link for the person
 */
export async function pagesFor({ store, caller, pages }: Changing, person: string): Promise<string> {
  if (pages === null) {
    throw new SidekeyError('input_invalid', 'The config file names no address of the pages.', {
      hint: 'set "admin: { listen: 127.0.0.1:8378 }" in the config file, and start the proxy again',
    });
  }
  const { role, disabledAt, identity } = await pickPerson(store, person);
  assertRole(role, caller);
  if (disabledAt !== null) {
    throw inputInvalid(`${person} is disabled.`, remedy('person.change', { person, disabled: false }));
  }
  // A link would stay valid without the account, and work again when its role comes back.
  if (identity !== null && !caller.isAtMachine) {
    throw new SidekeyError('input_invalid', `${person} signs in at the issuer of admin.oidc.`, {
      hint: hintOf`open ${pages}/ to sign in there; an operator can print a link on the machine: ${remedy('person.link', { person })}`,
    });
  }
  return pages;
}

/** Returns the account of a subject, as stored. */
export function identityOf(issuer: string, subject: string): string {
  return `${new URL(issuer).href} ${subject}`;
}

/** @throws SidekeyError `input_invalid` if there is no issuer */
function identityIn({ admin: { oidc } }: Pick<Config, 'admin'>, subject: string): string {
  if (oidc !== null) return identityOf(oidc.issuer, subject);
  throw inputInvalid(
    'The config file has no admin.oidc, so there is no account to link.',
    'set admin.oidc first: docs/sign-in.md',
  );
}

async function withPasskeys({ people }: Pick<Store, 'people'>, rows: readonly PersonRecord[]) {
  const passkeys = await people.passkeys.list(...rows.map(({ name: of }) => of));
  const byPerson = Map.groupBy(passkeys, (passkey) => passkey.person);
  return rows.map((person) => ({ ...person, passkeys: byPerson.get(person.name) ?? [] }));
}

/** @throws SidekeyError `not_found` */
async function pickPerson({ people }: Pick<Store, 'people'>, person: string): Promise<PersonRecord> {
  return findNamed(people, person, unknownPerson);
}

function unknownPerson(person: string, names: readonly string[]): SidekeyError {
  return new SidekeyError('not_found', `There is no person of that name${orMeant(person, names)}`, {
    hint: remedy('person.list'),
  });
}
