import type { HttpBindings } from '@hono/node-server';
import { LRUCache } from 'lru-cache';
import { hashToken } from '../agents/authentication.ts';
import { SidekeyError } from '../lib/errors.ts';
import type { Caller as OperationCaller } from '../operations/caller.ts';
import type { RuleLimit } from '../proxy/policy/rule.ts';
import type { ApiKeyRecord, PersonRecord } from '../store/store.ts';
import type { ServiceParts } from './parts.ts';
import { mayHave, roles, type Scope, scopes as allScopes, scopesOf, type Role } from '../domain/scopes.ts';
import { assertSameOrigin, bearerOf, createWebSessions, sessionPrefix } from './web-session.ts';

/** The authenticated caller of a request to the API. */
export interface Caller extends OperationCaller {
  readonly role: Role;
  /** Distinguishes the caller from a former one of the same name. */
  readonly id: string;
  /** Address and port of the client. */
  readonly address: string;
}

/** A key, and the epoch of the store at which it was read. */
interface KnownKey {
  readonly record: ApiKeyRecord;
  /** Owner of the key; null: no person, or a removed one. */
  readonly owner: PersonRecord | null;
  readonly epoch: number;
}

/** Returns the address and port of the client of a request. */
export function addressOf({ incoming: { socket } }: HttpBindings): string {
  const { remoteAddress = '', remotePort = 0 } = socket;
  return `${remoteAddress.replace(/^::ffff:/, '')}:${remotePort}`;
}

/** Milliseconds between two records of a key's use. */
const usedEveryMs = 60_000;

/** Maximum failures of an address per minute, over all processes. */
const maxFailures = 20;

/**
 * Returns the function that authenticates requests by a key or by the session of a person, never by a cookie.
 * The store looks up hashes, so the response time reveals nothing about existing secrets.
 */
export function authenticator(parts: Pick<ServiceParts, 'store' | 'vault' | 'now' | 'quota'>) {
  const { store, now } = parts;
  const sessions = createWebSessions(parts);
  const keys = new LRUCache<string, KnownKey>({ max: 1_000 });

  /** Returns a key and its person. Cached until the store changes, because they take two queries. */
  async function knownKey(key: string): Promise<KnownKey | null> {
    const hash = hashToken(key);
    const id = hash.toString('base64url');
    // Read before the rows, so that a change in between makes them old instead of new.
    const epoch = store.epoch();
    const kept = keys.get(id);
    if (kept?.epoch === epoch) return kept;
    const record = await store.apiKeys.find(hash);
    if (record === null) return null;
    const owner = record.person === null ? null : await store.people.get(record.person);
    const read = { record, owner, epoch };
    keys.set(id, read);
    return read;
  }

  async function byKey(key: string): Promise<Omit<Caller, 'address'> | null> {
    const known = await knownKey(key);
    if (known === null) return null;
    const { record, owner } = known;
    const { name, user, expiresAt, usedAt, person, createdAt } = record;
    const at = now();
    const role = roleOf(record.role);
    // A key ends with its person and the person's role. A new person of that name is another one.
    const isOrphan =
      person !== null && (owner === null || owner.disabledAt !== null || createdAt < owner.createdAt);
    const ofOwner = owner === null ? role : roleOf(owner.role);
    if (role === null || ofOwner === null || isOrphan || (expiresAt !== null && expiresAt <= at)) return null;
    if (usedAt === null || at - usedAt >= usedEveryMs) await store.apiKeys.noteUse(name, at);
    const own = [...scopesFor(role, record)].filter((scope) => mayHave(ofOwner, scope));
    return {
      isAtMachine: false,
      name: `key ${name}`,
      role,
      scopes: new Set(own),
      user: (owner && userOf(owner)) ?? user,
      person: null,
      owner: person,
      expiresAt,
      id: `key ${name} ${createdAt}`,
    };
  }

  async function bySession(secret: string): Promise<Omit<Caller, 'address'> | null> {
    const signedIn = await sessions.personOf(secret);
    const role = signedIn === null ? null : roleOf(signedIn.person.role);
    if (signedIn === null || role === null) return null;
    const { person, endsAt } = signedIn;
    const { name, createdAt } = person;
    return {
      isAtMachine: false,
      name,
      role,
      scopes: scopesOf(role),
      user: userOf(person),
      person: name,
      owner: name,
      expiresAt: person.identity === null ? null : endsAt,
      id: `person ${name} ${createdAt}`,
    };
  }

  return async (headers: Headers, address: string, method = 'GET'): Promise<Caller> => {
    const authorization = bearerOf(headers) ?? headers.get('authorization');
    const given = [headers.get('x-api-key'), authorization].filter((key) => key !== null);
    const [key, ...more] = new Set(given);
    if (key === undefined || more.length > 0) throw signInFailure(address, parts);
    const isSession = key.startsWith(sessionPrefix);
    const caller = await (isSession ? bySession(key) : byKey(key));
    if (caller === null) throw signInFailure(address, parts);
    if (isSession) assertSameOrigin(headers, method);
    return { ...caller, address };
  };
}

/**
 * Counts a failed sign-in, and returns its error: `rate_limited` for an address with many failures. A valid
 * key from that address is still accepted.
 */
export function signInFailure(
  address: string,
  { quota, now }: Pick<ServiceParts, 'quota' | 'now'>,
  error = new SidekeyError('api_auth_required'),
): SidekeyError {
  const key = `api sign-in ${address.replace(/:\d+$/, '')}`;
  const rate = { count: maxFailures, perMs: 60_000, burst: maxFailures };
  const limit: RuleLimit = { kind: 'rate', per: 'rule', ...rate, key };
  const taken = quota.take([limit], { agent: null, grant: '' }, now());
  if (taken.ok) return error;
  const sentence = 'There were too many requests without a valid key from this address.';
  const hint = 'wait, and send a valid key or passkey';
  return new SidekeyError('rate_limited', sentence, { hint, retryAfterMs: taken.retryAfterMs });
}

function roleOf(text: string): Role | null {
  return roles.find((each) => each === text) ?? null;
}

/** Returns the only user whose things a person may access; null: all. */
function userOf({ name, role, user }: PersonRecord): string | null {
  return role === 'user' ? (user ?? name) : user;
}

/** Returns the scopes of a key: those of its role, or the subset that it lists. */
function scopesFor(role: Role, { scopes }: ApiKeyRecord): ReadonlySet<Scope> {
  if (scopes === null) return scopesOf(role);
  // No role has the scopes that return secrets. The operator gives them to a named key.
  return new Set(allScopes.filter((scope) => scopes.includes(scope) && mayHave(role, scope)));
}
