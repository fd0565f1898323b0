import { identityOf } from '../api/oidc-person.ts';
import { makeSignInLink } from '../api/web-session.ts';
import { recordChange } from '../audit/log.ts';
import type { Config } from '../config/config.ts';
import { SidekeyError } from '../lib/errors.ts';
import { orMeant } from '../lib/text.ts';
import type { PasskeyRecord, PersonRecord } from '../store/store.ts';
import type { Context } from './context.ts';
import { table } from './display.ts';
import { checkName, isoOrNull, isoTime, pagesUrl, relativeTime } from '../operations/format.ts';

export interface CreateOptions {
  readonly role: string;
  readonly user?: string;
}

/** `sidekey person create` */
export async function createPerson(
  { withState, output, now }: Context,
  name: string,
  { role, user }: CreateOptions,
): Promise<void> {
  checkName('name of the person', name);
  if (user !== undefined) checkName('name of the user', user);
  const person: PersonRecord = {
    name,
    role,
    user: user ?? null,
    disabledAt: null,
    createdAt: now(),
    identity: null,
    generation: 0,
  };
  await withState(({ store, audit }) =>
    recordChange(audit, { event: 'person.created', user, reason: `${name}, role ${role}` }, () =>
      store.people.insert(person),
    ),
  );
  output.result(personJson(person), `Created the person ${name} with the role ${role}.`);
  output.say(`To sign in:\n  → sidekey person link ${name}`);
}

/** `sidekey person list`: all people, or one. @throws SidekeyError `not_found` */
export async function listPeople(
  { withView, output, now }: Context,
  name: string | undefined,
): Promise<void> {
  const people = await withView(async ({ store }) => {
    const all = (await store?.people.list()) ?? [];
    if (name !== undefined && !all.some((person) => person.name === name)) throw unknownPerson(name, all);
    const shown = all.filter((person) => name === undefined || person.name === name);
    return Promise.all(
      shown.map(async (person) => ({
        person,
        passkeys: (await store?.people.passkeys.list(person.name)) ?? [],
      })),
    );
  });
  const json = people.map(({ person, passkeys }) => personJson(person, passkeys));
  output.result(
    name === undefined ? json : json[0],
    people.length === 0
      ? 'There are no people yet.\n  → sidekey person create NAME --role operator'
      : table(
          output.display,
          ['NAME', 'ROLE', 'USER', 'STATE', 'PASSKEYS', 'CREATED'],
          people.map(({ person, passkeys }) => [
            person.name,
            person.role,
            person.user ?? '-',
            person.disabledAt === null ? 'enabled' : 'disabled',
            String(passkeys.length),
            relativeTime(person.createdAt, now()),
          ]),
          { least: ['CREATED', 'USER'] },
        ),
  );
}

export interface SetOptions {
  readonly role?: string;
  readonly disable?: boolean;
  readonly enable?: boolean;
  readonly subject?: string;
}

/** `sidekey person set` */
export async function setPerson(
  { withState, output, now }: Context,
  name: string,
  { role, disable = false, enable = false, subject }: SetOptions,
): Promise<void> {
  if (disable && enable) {
    throw new SidekeyError('input_invalid', '--disable and --enable exclude each other.', {
      hint: 'give one of them',
    });
  }
  const change = {
    ...(role === undefined ? {} : { role }),
    ...(disable ? { disabledAt: now() } : enable ? { disabledAt: null } : {}),
  };
  if (Object.keys(change).length === 0 && subject === undefined) {
    throw new SidekeyError('input_invalid', 'No option says what to change.', {
      hint: `sidekey person set ${name} --role auditor; --disable; --enable; --subject SUBJECT`,
    });
  }
  const person = await withState(async ({ store, audit, config }) => {
    const all = await store.people.list();
    const before = all.find((each) => each.name === name);
    if (before === undefined) throw unknownPerson(name, all);
    const link = subject === undefined ? {} : { identity: identityIn(config, subject) };
    const after = { ...before, ...change, ...link };
    const state = after.disabledAt === null ? 'enabled' : 'disabled';
    const linked = subject === undefined ? '' : `, linked to ${after.identity}`;
    const event = {
      event: 'person.changed',
      reason: `${name}, role ${after.role}, ${state}${linked}`,
    } as const;
    // After a change of the account, the former holder of the name may be somebody else.
    const ends = disable || after.identity !== before.identity;
    await recordChange(audit, event, async () => {
      const endsAt = ends ? now() : undefined;
      if (!(await store.people.change(name, { ...change, ...link }, endsAt))) throw unknownPerson(name, []);
    });
    return after;
  });
  output.result(personJson(person), `Changed ${name}; it takes effect on the next request.`);
  if (disable)
    output.say(`All sign-ins and API keys of ${name} have ended, and stay so when you enable ${name} again.`);
}

/** @throws SidekeyError `input_invalid` if there is no issuer */
function identityIn({ admin: { oidc } }: Pick<Config, 'admin'>, subject: string): string {
  if (oidc !== null) return identityOf(oidc.issuer, subject);
  throw new SidekeyError(
    'input_invalid',
    'The config file has no admin.oidc, so there is no account to link.',
    {
      hint: 'set admin.oidc first: docs/sign-in.md',
    },
  );
}

/** `sidekey person remove`: also ends the person's sessions and keys. @throws SidekeyError `not_found` */
export async function removePerson({ withState, output, now }: Context, name: string): Promise<void> {
  await withState(async ({ store, audit }) => {
    const all = await store.people.list();
    if (!all.some((person) => person.name === name)) throw unknownPerson(name, all);
    await recordChange(audit, { event: 'person.removed', reason: name }, async () => {
      await store.people.change(name, {}, now());
      if (!(await store.people.remove(name))) throw unknownPerson(name, []);
    });
  });
  output.result(
    { name, removed: true },
    `Removed ${name}: the sessions and keys of ${name} are refused from now on.`,
  );
}

/** `sidekey person link`: prints an address that signs the person in, once. */
export async function linkPerson({ withState, output, now }: Context, name: string): Promise<void> {
  const { url, expiresAt } = await withState(async ({ store, vault, audit, config }) => {
    const base = knownPagesUrl(config);
    const all = await store.people.list();
    const person = all.find((each) => each.name === name);
    if (person === undefined) throw unknownPerson(name, all);
    if (person.disabledAt !== null) {
      throw new SidekeyError('input_invalid', `${name} is disabled.`, {
        hint: `sidekey person set ${name} --enable`,
      });
    }
    await audit.append({ event: 'person.linked', reason: name });
    const link = await makeSignInLink({ store, vault, now }, name);
    return { url: base + link.path, expiresAt: link.expiresAt };
  });
  output.result({ name, url, expires_at: isoTime(expiresAt) }, url);
  output.say(
    `The first person to open it is signed in as ${name}. It works once and expires ${relativeTime(expiresAt, now())}.`,
  );
}

/** @throws SidekeyError `input_invalid` if no pages are served, or their port is unknown */
function knownPagesUrl({ admin }: Pick<Config, 'admin'>): string {
  const url = pagesUrl(admin);
  if (url !== null) return url;
  throw new SidekeyError('input_invalid', 'The config file names no address of the pages.', {
    hint: 'set "admin: { listen: 127.0.0.1:8378 }" in the config file, and start the proxy again',
  });
}

function unknownPerson(name: string, all: readonly PersonRecord[]): SidekeyError {
  const names = all.map((person) => person.name);
  return new SidekeyError('not_found', `There is no person of that name${orMeant(name, names)}`, {
    hint: 'sidekey person list',
  });
}

function personJson(
  { name, role, user, identity, disabledAt, createdAt }: PersonRecord,
  passkeys: readonly PasskeyRecord[] = [],
) {
  return {
    name,
    role,
    user,
    identity,
    state: disabledAt === null ? 'enabled' : 'disabled',
    passkeys: passkeys.map(({ id, label, createdAt: made, usedAt }) => ({
      id,
      label,
      created_at: isoTime(made),
      used_at: isoOrNull(usedAt),
    })),
    created_at: isoTime(createdAt),
  };
}
