import { randomBytes } from 'node:crypto';
import { z } from 'zod';
import { hashToken } from '../agents/authentication.ts';
import { recordChange } from '../audit/log.ts';
import { mayHave, roles, scopes, scopesOf } from '../domain/scopes.ts';
import { inputInvalid, SidekeyError } from '../lib/errors.ts';
import { remedy } from '../lib/hint.ts';
import { orMeant } from '../lib/text.ts';
import type { ApiKeyRecord } from '../store/store.ts';
import { assertRole, assertScopes } from './caller.ts';
import { findNamed } from './find.ts';
import { readEnd } from './format.ts';
import { membersOf, name, named, text, time, timeOrNull, userName } from './members.ts';
import { changing, reading } from './operation.ts';
import { namePlace, pageInput, pageOf } from './paging.ts';

/** API keys: the keys of programs that call the API. */

const members = {
  name: z.string(),
  role: z.enum(roles),
  scopes: z.array(z.string()).nullable(),
  user: z.string().nullable(),
  person: z.string().nullable(),
  created_at: time,
  expires_at: timeOrNull,
  used_at: timeOrNull,
};

const keyAnswer = (key: ApiKeyRecord) => membersOf(members, key);

const apiKey = named('ApiKey', members);

export const listApiKeys = reading({
  id: 'api_key.list',
  summary: 'List the keys of the API.',
  scope: 'config:read',
  input: z.strictObject(pageInput),
  output: z.array(apiKey),
  run: ({ store }, page) =>
    pageOf(page, {
      place: namePlace,
      read: async (query) => (await store?.apiKeys.list(query)) ?? [],
    }),
  next: ({ next }) => next,
  answer: ({ rows }) => rows.map(keyAnswer),
});

export const getApiKey = reading({
  id: 'api_key.get',
  summary: 'Show a key of the API.',
  scope: 'config:read',
  input: z.strictObject({ key: text }),
  output: apiKey,
  run: ({ store }, { key }) => findNamed(store?.apiKeys, key, unknownKey),
  answer: keyAnswer,
});

export const createApiKey = changing({
  id: 'api_key.create',
  summary: 'Create a key with at most the scopes of the caller. The answer has it, once.',
  scope: 'config:write',
  input: z.strictObject({
    name,
    role: z.enum(roles),
    scopes: z.array(z.enum(scopes)).optional(),
    user: userName.optional(),
    person: userName.optional(),
    expires: text.default('90d').describe('90d, a date, or none.'),
  }),
  output: named('CreatedApiKey', { ...members, key: z.string() }),
  check({ name: of, role, user, expires, scopes: listed = [] }, at) {
    if (expires !== 'none') readEnd('--expires', expires, at);
    const beyond = listed.find((scope) => !mayHave(role, scope));
    if (beyond !== undefined)
      throw inputInvalid(
        `A key of the role ${role} cannot have the scope ${beyond}.`,
        `leave out the scope, or choose a role that has it: ${roles.filter((each) => mayHave(each, beyond)).join(', ')}`,
      );
    if (role !== 'user' || user !== undefined) return;
    throw new SidekeyError('input_invalid', 'A key of the role user is for one user.', {
      hint: remedy('api_key.create', { name: of, role: 'user', user: null }),
    });
  },
  async run(
    { store, audit, pages, caller },
    { name: of, role, scopes: listed, user, expires, ...given },
    at,
  ) {
    const { person = caller.owner ?? undefined } = given;
    assertScopes(listed ?? scopesOf(role), caller);
    if (caller.owner !== null && person !== caller.owner) {
      throw new SidekeyError('scope_missing', `${caller.name} cannot create keys of other people.`, {
        hint: remedy('api_key.create', { name: null, person: null }),
      });
    }
    const owner = person === undefined ? undefined : await store.people.get(person);
    if (owner === null || (owner?.disabledAt ?? null) !== null) {
      throw new SidekeyError('not_found', 'There is no enabled person of that name.', {
        hint: remedy('person.list'),
      });
    }
    const end = expires === 'none' ? Infinity : readEnd('--expires', expires, at);
    const expiresAt = Math.min(end, caller.expiresAt ?? Infinity);
    // The prefix is for secret scanners.
    const secret = `sk_${randomBytes(32).toString('base64url')}`;
    const key: ApiKeyRecord = {
      name: of,
      hash: hashToken(secret),
      role,
      scopes: listed ?? null,
      user: user ?? null,
      person: person ?? null,
      createdAt: at,
      expiresAt: expiresAt === Infinity ? null : expiresAt,
      usedAt: null,
    };
    const reason = `${of}, role ${role}${listed === undefined ? '' : `, scopes ${listed.join(' ')}`}`;
    await recordChange(audit, { event: 'api_key.created', user, reason }, () => store.apiKeys.insert(key));
    return { key, secret, pages };
  },
  answer: ({ key, secret }) => ({ ...keyAnswer(key), key: secret }),
});

export const revokeApiKey = changing({
  id: 'api_key.revoke',
  summary: 'End a key at once.',
  scope: 'config:write',
  input: z.strictObject({ key: text }),
  output: z.strictObject({ name: z.string(), revoked: z.literal(true) }),
  async run({ store, audit, caller }, { key }) {
    const { role } = await findNamed(store.apiKeys, key, unknownKey);
    // A key may end itself, whatever scopes it has.
    if (caller.name !== `key ${key}`) assertRole(role, caller);
    await recordChange(audit, { event: 'api_key.revoked', reason: key }, async () => {
      if (!(await store.apiKeys.remove(key))) throw unknownKey(key, []);
    });
    return key;
  },
  answer: (key) => ({ name: key, revoked: true as const }),
});

function unknownKey(key: string, names: readonly string[]): SidekeyError {
  return new SidekeyError('not_found', `There is no API key of that name${orMeant(key, names)}`, {
    hint: remedy('api_key.list'),
  });
}
