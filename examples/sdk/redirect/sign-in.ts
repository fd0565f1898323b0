import { randomUUID } from 'node:crypto';

/**
 * The sign-in of the application: it knows its people. Sidekey trusts the application, and asks no further.
 */

const users = new Map<string, string>();

/** Returns the cookie of a user who has signed in. */
export function signIn(user: string): string {
  const id = randomUUID();
  users.set(id, user);
  return `session=${id}; Path=/; HttpOnly; SameSite=Lax`;
}

/** Returns the user of a request; null: nobody is signed in. */
export function userOf({ headers }: Request): string | null {
  const [, id = ''] = /(?:^|; )session=([\w-]+)/.exec(headers.get('cookie') ?? '') ?? [];
  return users.get(id) ?? null;
}
