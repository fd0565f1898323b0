import { randomBytes } from 'node:crypto';
import { z } from 'zod';
import { type SessionParts, sessionsOf } from '../grants/sessions.ts';
import type { PersonRecord, Store } from '../store/store.ts';

/** Links that sign people in, and the rule by which what was made for a person ends. */

const linkMs = 600_000;

const linkShape = z.strictObject({ person: z.string(), generation: z.int(), createdAt: z.number() });

type LinkParts = SessionParts & { readonly store: Pick<Store, 'people'> };

const linksOf = (parts: SessionParts) => sessionsOf('sign-in', linkShape, parts);

/** Makes a link that signs a person in once, within 10 minutes. Returns its path. */
export async function makeSignInLink(
  parts: LinkParts,
  person: string,
): Promise<{ readonly path: string; readonly expiresAt: number }> {
  const createdAt = parts.now();
  const secret = randomBytes(32).toString('base64url');
  const generation = (await parts.store.people.get(person))?.generation ?? 0;
  await linksOf(parts).put(secret, { person, generation, createdAt }, createdAt + linkMs);
  return { path: `/sign-in/${secret}`, expiresAt: createdAt + linkMs };
}

/** Uses up a link, and returns its person; null: the link is invalid, or was used before. */
export async function takeSignInLink(parts: LinkParts, secret: string): Promise<PersonRecord | null> {
  const link = await linksOf(parts).take(secret);
  if (link === null) return null;
  const person = await parts.store.people.get(link.person);
  return standsFor(person, link) ? person : null;
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
