import { hash, randomBytes } from 'node:crypto';
import { SidekeyError } from '../lib/errors.ts';
import type { PersonRecord } from '../store/store.ts';
import type { ServiceParts } from './parts.ts';

/**
 * Sessions of people in browsers. The cookie has a random secret; the store has its hash, and the sealed name of the person.
 * A session ends 12 hours after its last use, and 7 days after the sign-in; of a person with an account at an OpenID provider
 * 12 hours after it, because the provider is not asked in between.
 */

const idleMs = 12 * 3_600_000;
const wholeMs = 7 * 86_400_000;
/** Milliseconds after which a use is recorded. */
const notedEveryMs = 600_000;
const linkMs = 600_000;

interface Session {
  readonly person: string;
  /** The `identity` of the person at the sign-in. */
  readonly identity: string | null;
  /** The `generation` of the person at the sign-in; absent: 0. */
  readonly generation?: number;
  readonly createdAt: number;
  readonly seenAt: number;
}

/**
 * Reports whether something that was made for a person at a time, and in a generation, still stands: another person may have
 * the name now, and the person may be disabled, or have been disabled since.
 */
export function standsFor(
  person: PersonRecord | null,
  { createdAt, generation = 0 }: Pick<Session, 'createdAt' | 'generation'>,
): person is PersonRecord {
  return (
    person !== null &&
    person.disabledAt === null &&
    createdAt >= person.createdAt &&
    generation === person.generation
  );
}

interface SignedIn {
  readonly person: PersonRecord;
  /** Time at which the session ends, however it is used, in milliseconds since the epoch. */
  readonly endsAt: number;
}

interface WebSessions {
  /**
   * Returns the person of a request, and the end of the session; null: nobody is signed in.
   *
   * @throws SidekeyError `authority_mismatch` if a page of another origin sent it
   */
  personOf(headers: Headers, method: string): Promise<SignedIn | null>;
  /** Begins a session, with a new secret, and returns the field `Set-Cookie`. */
  begin(person: PersonRecord): Promise<string>;
  /** Ends the session of a request, and returns the field that removes the cookie. */
  end(headers: Headers): Promise<string>;
}

type SessionParts = Pick<ServiceParts, 'store' | 'vault' | 'now' | 'url'>;

/** Returns the sessions of a store. */
export function createWebSessions({ store, vault, now, url }: SessionParts): WebSessions {
  // The prefix makes browsers refuse the cookie of another path, or of a subdomain.
  const isSecure = () => url().startsWith('https:');
  const cookieName = () => (isSecure() ? '__Host-sidekey' : 'sidekey');
  const field = (value: string, seconds: number) =>
    `${cookieName()}=${value}; Path=/; Max-Age=${seconds}; HttpOnly; SameSite=Strict${isSecure() ? '; Secure' : ''}`;
  const keep = async (id: string, session: Session) => {
    await vault.refresh();
    await store.sessions.put({
      id,
      expiresAt: Math.min(session.createdAt + wholeMs, session.seenAt + idleMs),
      sealed: vault.seal(contextOf(id), Buffer.from(JSON.stringify(session))),
    });
  };
  const idOf = (headers: Headers) => {
    const secret = cookieOf(headers, cookieName());
    return secret === null ? null : sessionId('web-session', secret);
  };
  return {
    async personOf(headers, method) {
      const id = idOf(headers);
      const record = id === null ? null : await store.sessions.get(id);
      const at = now();
      if (id === null || record === null || record.expiresAt <= at) return null;
      assertSameOrigin(headers, method);
      await vault.refresh();
      const session = JSON.parse(
        Buffer.from(vault.open(contextOf(id), record.sealed)).toString('utf8'),
      ) as Session;
      const person = await store.people.get(session.person);
      if (!standsFor(person, session)) return null;
      // Another account was linked since.
      if (session.identity !== person.identity) return null;
      const endsAt = session.createdAt + lifeOf(person);
      if (endsAt <= at) return null;
      if (at - session.seenAt >= notedEveryMs) await keep(id, { ...session, seenAt: at });
      return { person, endsAt };
    },
    async begin(person) {
      await store.sessions.removeEnded(now());
      const secret = randomBytes(32).toString('base64url');
      const { name, identity, generation } = person;
      await keep(sessionId('web-session', secret), {
        person: name,
        identity,
        generation,
        createdAt: now(),
        seenAt: now(),
      });
      return field(secret, lifeOf(person) / 1_000);
    },
    async end(headers) {
      const id = idOf(headers);
      if (id !== null) await store.sessions.take(id);
      return field('', 0);
    },
  };
}

/**
 * Refuses a request that a page of another origin sent (cross-site request forgery). Browsers send `Origin` with each
 * request that is no GET, and `Sec-Fetch-Site` with each.
 *
 * @throws SidekeyError `authority_mismatch`
 */
export function assertSameOrigin(headers: Headers, method: string): void {
  const site = headers.get('sec-fetch-site');
  const origin = headers.get('origin');
  const isOwn = origin !== null && URL.parse(origin)?.host === headers.get('host');
  const isSafe = method === 'GET' || method === 'HEAD';
  if ((isSafe || isOwn) && (site === null || site === 'same-origin' || (isSafe && site === 'none'))) return;
  throw new SidekeyError('authority_mismatch', 'A page of another origin sent this request.', {
    hint: 'open the page of Sidekey itself',
  });
}

/** Returns the milliseconds after which a person signs in again. */
function lifeOf({ identity }: PersonRecord): number {
  return identity === null ? wholeMs : idleMs;
}

function cookieOf(headers: Headers, name: string): string | null {
  const pairs = (headers.get('cookie') ?? '').split(';').map((pair) => pair.trim());
  const found = pairs
    .filter((pair) => pair.startsWith(`${name}=`))
    .map((pair) => pair.slice(name.length + 1));
  // Two cookies of one name: one is not ours.
  return found.length === 1 && /^[\w-]{43}$/.test(found[0] ?? '') ? (found[0] ?? null) : null;
}

/** Returns the id of a record, which does not reveal the secret to a reader of the store. */
export function sessionId(kind: string, secret: string): string {
  return hash('sha256', `${kind}/${secret}`);
}

/** Binds a seal to its record. */
function contextOf(id: string): string {
  return `web-session/${id}`;
}

/** Makes a link that signs a person in once, within 10 minutes; returns its path. */
export async function makeSignInLink(
  { store, vault, now }: Pick<ServiceParts, 'store' | 'vault' | 'now'>,
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

/** Uses up a link, and returns its person; null: it is not valid, or was used before. */
export async function takeSignInLink(
  { store, vault, now }: Pick<ServiceParts, 'store' | 'vault' | 'now'>,
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
