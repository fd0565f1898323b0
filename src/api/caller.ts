import { hashToken } from '../agents/authentication.ts';
import { SidekeyError } from '../lib/errors.ts';
import type { ApiKeyRecord } from '../store/store.ts';
import type { ServiceParts } from './parts.ts';
import { roles, type Scope, scopesOf, type Role } from './scopes.ts';

/** The authenticated caller of a request to the API. */
export interface Caller {
  /** Name of the key or the person: `by` of audit events. */
  readonly name: string;
  readonly role: Role;
  readonly scopes: ReadonlySet<Scope>;
  /** The only user whose grants it may touch; null: all users. */
  readonly user: string | null;
  /** Address and port of the client. */
  readonly address: string;
}

/** Milliseconds between records of the use of a key. */
const usedEveryMs = 60_000;

/**
 * Returns the function that authenticates requests. The store is asked for the hash of the key, so the time of the answer
 * says nothing about the keys that exist.
 */
export function authenticator({ store, now }: Pick<ServiceParts, 'store' | 'now'>) {
  return async (headers: Headers, address: string): Promise<Caller> => {
    const key = keyOf(headers);
    const record = key === null ? null : await store.apiKeys.find(hashToken(key));
    if (record === null) throw new SidekeyError('api_auth_required');
    const { name, user, expiresAt, usedAt } = record;
    const at = now();
    const role = roles.find((each) => each === record.role);
    if (role === undefined || (expiresAt !== null && expiresAt <= at)) {
      throw new SidekeyError('api_auth_required');
    }
    if (usedAt === null || at - usedAt >= usedEveryMs) await store.apiKeys.noteUse(name, at);
    return { name: `key ${name}`, role, scopes: scopesFor(role, record), user, address };
  };
}

/** Returns the key of a request; null: none, or two different ones. */
function keyOf(headers: Headers): string | null {
  const [, bearer] = /^Bearer +(\S+) *$/i.exec(headers.get('authorization') ?? '') ?? [];
  const keys = new Set([headers.get('x-api-key'), bearer].filter((key) => key != null));
  const [key] = keys;
  return key !== undefined && keys.size === 1 && key.startsWith('sk_') ? key : null;
}

/** Returns the scopes of a key: those of its role, or the part of them that it lists. */
function scopesFor(role: Role, { scopes }: ApiKeyRecord): ReadonlySet<Scope> {
  const all = scopesOf(role);
  if (scopes === null) return all;
  // No role has the scope that returns secrets; the operator gives it to a key by name.
  const readsTokens = scopes.includes('tokens:read') && (role === 'operator' || role === 'user');
  const listed = [...all].filter((scope) => scopes.includes(scope));
  return new Set<Scope>(readsTokens ? [...listed, 'tokens:read'] : listed);
}
