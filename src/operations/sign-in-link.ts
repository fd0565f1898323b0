import { randomBytes } from 'node:crypto';
import { z } from 'zod';
import { type SessionParts, sessionsOf } from '../grants/sessions.ts';
import type { PersonRecord, Store } from '../store/store.ts';

/** Links that sign people in, and the rule by which what was made for a person ends. */

/**
 * Milliseconds for which links of a kind are valid. The page of a `sign-in` link asks before it signs in: the
 * link may come from somebody else. An `open` link is made at the machine, and its page asks nothing.
 */
const lifeMs = { 'sign-in': 600_000, open: 60_000 } as const;

export type LinkKind = keyof typeof lifeMs;

const linkShape = z.strictObject({ person: z.string(), generation: z.int(), createdAt: z.number() });

type LinkParts = SessionParts & { readonly store: Pick<Store, 'people'> };

const linksOf = (kind: LinkKind, parts: SessionParts) => sessionsOf(kind, linkShape, parts);

/** Makes a link that signs a person in once. Returns its path, which has an `open` secret as a fragment. */
export async function makeSignInLink(
  parts: LinkParts,
  person: string,
  kind: LinkKind = 'sign-in',
): Promise<{ readonly path: string; readonly expiresAt: number }> {
  const createdAt = parts.now();
  const secret = randomBytes(32).toString('base64url');
  const generation = (await parts.store.people.get(person))?.generation ?? 0;
  const expiresAt = createdAt + lifeMs[kind];
  await linksOf(kind, parts).put(secret, { person, generation, createdAt }, expiresAt);
  return { path: kind === 'open' ? `/sign-in/open#${secret}` : `/sign-in/${secret}`, expiresAt };
}

/** Uses up a link, and returns its person; null: no valid link of this kind, or it was used before. */
export async function takeSignInLink(
  parts: LinkParts,
  secret: string,
  kind: LinkKind,
): Promise<PersonRecord | null> {
  const link = await linksOf(kind, parts).take(secret);
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
