import { hash, randomBytes } from 'node:crypto';
import type { PersonRecord } from '../store/store.ts';
import type { Changing } from './operation.ts';

/** Links that sign people in, and what is sealed for people. */

const linkMs = 600_000;

type LinkParts = Pick<Changing, 'store' | 'vault' | 'now'>;

/** Makes a link that signs a person in once, within 10 minutes. Returns its path. */
export async function makeSignInLink(
  { store, vault, now }: LinkParts,
  person: string,
): Promise<{ readonly path: string; readonly expiresAt: number }> {
  const at = now();
  await store.sessions.removeEnded(at);
  await vault.refresh();
  const secret = randomBytes(32).toString('base64url');
  const id = sessionId('sign-in', secret);
  const expiresAt = at + linkMs;
  const generation = (await store.people.get(person))?.generation ?? 0;
  const sealed = vault.seal(contextOf(id), Buffer.from(`${person} ${generation}`));
  await store.sessions.insert({ id, expiresAt, sealed });
  return { path: `/sign-in/${secret}`, expiresAt };
}

/** Uses up a link, and returns its person; null: it is invalid, or was used before. */
export async function takeSignInLink(
  { store, vault, now }: LinkParts,
  secret: string,
): Promise<PersonRecord | null> {
  const id = sessionId('sign-in', secret);
  const record = await store.sessions.take(id);
  if (record === null || record.expiresAt <= now()) return null;
  await vault.refresh();
  const [name = '', generation] = vault.open(contextOf(id), record.sealed).toString('utf8').split(' ');
  const person = await store.people.get(name);
  const made = { createdAt: record.expiresAt - linkMs, generation: Number(generation ?? 0) };
  return standsFor(person, made) ? person : null;
}

/**
 * Reports whether something made for a person at a time, in a generation, is still valid. The name may belong
 * to another person now, and the person may be disabled, or have been disabled since.
 */
export function standsFor(
  person: PersonRecord | null,
  { createdAt, generation = 0 }: { readonly createdAt: number; readonly generation?: number },
): person is PersonRecord {
  return (
    person !== null &&
    person.disabledAt === null &&
    createdAt >= person.createdAt &&
    generation === person.generation
  );
}

/** Returns the id of a record. It does not reveal the secret to a reader of the store. */
export function sessionId(kind: string, secret: string): string {
  return hash('sha256', `${kind}/${secret}`);
}

/** Binds a seal to its record. */
export function contextOf(id: string): string {
  return `web-session/${id}`;
}
