import { hash, randomBytes } from 'node:crypto';
import { z } from 'zod';
import { type SessionParts, sessionsOf } from '../grants/sessions.ts';
import { SidekeyError } from '../lib/errors.ts';
import { createApiKey } from '../operations/api-key.ts';
import { type Role, scopesOf } from '../domain/scopes.ts';
import type { Caller } from './caller.ts';
import type { ServiceParts } from './parts.ts';
import { callOperation } from './operation-route.ts';
import { standsFor } from '../operations/sign-in-link.ts';

/**
 * Keys for the command line of a person (`sidekey login`). The page gives the command line a code. Only the
 * maker of the challenge (RFC 7636, S256) can exchange it for a key.
 */

/** Milliseconds for which a code is valid. */
const codeMs = 60_000;
/** Lifetime of a key. It ends earlier with the session at the issuer. */
const life = '12h';
/** Prefix of the names of keys. */
const keyPrefix = 'login-';

const loginShape = z.strictObject({
  person: z.string(),
  /** The `identity` of the person at the sign-in. */
  identity: z.string().nullable(),
  /** The `generation` of the person at the sign-in. */
  generation: z.int(),
  challenge: z.string(),
  createdAt: z.number(),
  /** End of the session, which the key inherits; null: none. */
  notAfter: z.number().nullable(),
});

const loginsOf = (parts: SessionParts) => sessionsOf('login', loginShape, parts);

/** Returns a code that works once, within a minute. @throws SidekeyError `scope_missing` for a key */
export async function makeLoginCode(
  { person, name, expiresAt: notAfter }: Caller,
  challenge: string,
  parts: Pick<ServiceParts, 'store' | 'vault' | 'now'>,
): Promise<string> {
  if (person === null) {
    throw new SidekeyError('scope_missing', `${name} is no person.`, { hint: 'sign in at the pages' });
  }
  const createdAt = parts.now();
  const { identity = null, generation = 0 } = (await parts.store.people.get(person)) ?? {};
  const code = randomBytes(32).toString('base64url');
  const login = { person, identity, generation, challenge, createdAt, notAfter };
  await loginsOf(parts).put(code, login, createdAt + codeMs);
  return code;
}

/** Returns the JSON of the person's new key; null if the code is invalid or was used before. */
export async function exchangeLoginCode(
  { code, verifier }: { readonly code: string; readonly verifier: string },
  address: string,
  parts: ServiceParts,
): Promise<unknown> {
  const login = await loginsOf(parts).take(code);
  if (login === null || hash('sha256', verifier, 'base64url') !== login.challenge) return null;
  const person = await parts.store.people.get(login.person);
  if (!standsFor(person, login) || login.identity !== person.identity) return null;
  const { name, role, user } = person;
  // Each login creates a key, so ended ones would accumulate.
  await parts.store.apiKeys.removeEnded(name, keyPrefix, parts.now());
  return callOperation(
    createApiKey,
    {
      name: `${keyPrefix}${randomBytes(6).toString('hex')}`,
      role: role as Role,
      user: role === 'user' ? (user ?? name) : undefined,
      expires: life,
    },
    {
      isAtMachine: false,
      name,
      address,
      scopes: scopesOf(role as Role),
      user: role === 'user' ? (user ?? name) : null,
      person: null,
      owner: name,
      expiresAt: login.notAfter,
    },
    parts,
  );
}
