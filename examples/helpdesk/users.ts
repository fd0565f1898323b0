import { randomBytes, scrypt, scryptSync, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';

/** A person who works at Acme. */
export interface User {
  /** Short name: the subject of tokens, and what `assignee` filters take. */
  readonly id: string;
  readonly name: string;
  readonly email: string;
}

/** Everybody the helpdesk knows. All of them have the password `demo1234`. */
export const users: readonly User[] = [
  { id: 'alice', name: 'Alice Adams', email: 'alice@acme.test' },
  { id: 'bob', name: 'Bob Brown', email: 'bob@acme.test' },
  { id: 'carol', name: 'Carol Clark', email: 'carol@acme.test' },
];

const salt = randomBytes(16);
const cost = { N: 4096 };
const passwordHash = scryptSync('demo1234', salt, 32, cost);
const derive = promisify<string, Buffer, number, object, Buffer>(scrypt);

/** A user by short name or email address, in any case; undefined where nobody has it. */
export function findUser(text: string): User | undefined {
  const wanted = text.trim().toLowerCase();
  return users.find((user) => user.id === wanted || user.email === wanted);
}

/** The user that these sign-in details belong to, or null. Takes as long for a user that does not exist. */
export async function authenticate(login: string, password: string): Promise<User | null> {
  const hash = await derive(password, salt, 32, cost);
  const matches = timingSafeEqual(hash, passwordHash);
  return (matches && findUser(login)) || null;
}
