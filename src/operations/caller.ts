import { roles, type Scope, scopes, scopesOf } from '../domain/scopes.ts';
import { SidekeyError } from '../lib/errors.ts';

/** The caller of an operation: a person at the machine, or one who was authenticated by the API. */

export interface Caller {
  /** True: a person who may read the files of Sidekey. */
  readonly isAtMachine: boolean;
  /** Name of the person or the key: `by` of audit events. */
  readonly name: string;
  readonly scopes: ReadonlySet<Scope>;
  /** The only user whose grants the caller may access; null: all users. */
  readonly user: string | null;
  /** The person who is signed in to the dashboard; null: the caller has a key, or is at the machine. */
  readonly person: string | null;
  /** Person behind the caller: signed in, or owner of the key; null: none. */
  readonly owner: string | null;
  /** Milliseconds since the epoch; keys that the caller creates end no later. Null: no limit. */
  readonly expiresAt: number | null;
}

/** Returns the caller for a person who may read the files of Sidekey, and so may do everything. */
export function callerAtMachine(name: string): Caller {
  const whole = { scopes: new Set(scopes), user: null, person: null, owner: null, expiresAt: null };
  return { isAtMachine: true, name, ...whole };
}

/** Returns the author of an answer, for people: `alice at the command line`. */
export function authorOf(caller: Caller): string {
  return `${caller.name} ${placeOf(caller)}`;
}

/** Returns the place of a caller, for people. */
export function placeOf({ isAtMachine, person }: Pick<Caller, 'isAtMachine' | 'person'>): string {
  if (isAtMachine) return 'at the command line';
  return person === null ? 'by the API' : 'in the dashboard';
}

/** Refuses scopes that the caller does not have. @throws SidekeyError `scope_missing` */
export function assertScopes(given: Iterable<Scope>, { name, scopes: own }: Caller): void {
  for (const scope of given) {
    if (own.has(scope)) continue;
    throw new SidekeyError('scope_missing', `${name} does not have the scope ${scope}, and cannot give it.`);
  }
}

/** Refuses a role with more scopes than the caller has. @throws SidekeyError `scope_missing` */
export function assertRole(role: string | undefined, caller: Caller): void {
  const given = roles.find((each) => each === role);
  if (given !== undefined) assertScopes(scopesOf(given), caller);
}
