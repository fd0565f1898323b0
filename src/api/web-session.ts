import { randomBytes } from 'node:crypto';
import { SidekeyError } from '../lib/errors.ts';
import { sessionId } from '../grants/sessions.ts';
import { standsFor } from '../operations/sign-in-link.ts';
import type { PersonRecord } from '../store/store.ts';
import type { ServiceParts } from './parts.ts';

/**
 * Sessions of people in browsers. The page keeps a random secret in the storage of its origin, and sends it
 * as `Authorization: Bearer`. A cookie would go to every port of the host (RFC 6265 §8.5). The store has the
 * hash of the secret, and the sealed name of the person. A session ends 12 hours after its last use, and 7
 * days after the sign-in. With an OpenID account it ends 12 hours after the sign-in: the provider is not
 * asked in between.
 */

/** Prefix of session secrets. No API key begins with it. */
export const sessionPrefix = 'ws_';

const idleMs = 12 * 3_600_000;
const wholeMs = 7 * 86_400_000;
/** Milliseconds between two records of use. */
const notedEveryMs = 600_000;

interface Session {
  readonly person: string;
  /** The `identity` of the person at the sign-in. */
  readonly identity: string | null;
  /** The `generation` of the person at the sign-in; absent: 0. */
  readonly generation?: number;
  readonly createdAt: number;
  readonly seenAt: number;
}

interface SignedIn {
  readonly person: PersonRecord;
  /** Latest end of the session, in milliseconds since the epoch. */
  readonly endsAt: number;
}

interface WebSessions {
  /** Returns the person of a secret, and the end of the session; null if no such session is valid. */
  personOf(secret: string): Promise<SignedIn | null>;
  /** Begins a session, and returns its new secret. */
  begin(person: PersonRecord): Promise<string>;
  /** Ends the session of a request, and returns its person; null if there is no session. */
  end(headers: Headers): Promise<PersonRecord | null>;
}

type SessionParts = Pick<ServiceParts, 'store' | 'vault' | 'now'>;

export function createWebSessions({ store, vault, now }: SessionParts): WebSessions {
  const keep = async (id: string, session: Session) => {
    await vault.refresh();
    await store.sessions.put({
      id,
      expiresAt: Math.min(session.createdAt + wholeMs, session.seenAt + idleMs),
      sealed: vault.seal(`web-session/${id}`, Buffer.from(JSON.stringify(session))),
    });
  };
  const sessions: WebSessions = {
    async personOf(secret) {
      const id = sessionId('web-session', secret);
      const record = await store.sessions.get(id);
      const at = now();
      if (record === null || record.expiresAt <= at) return null;
      await vault.refresh();
      const session = JSON.parse(
        Buffer.from(vault.open(`web-session/${id}`, record.sealed)).toString('utf8'),
      ) as Session;
      const person = await store.people.get(session.person);
      if (!standsFor(person, session)) return null;
      // The person's account changed since.
      if (session.identity !== person.identity) return null;
      const endsAt = session.createdAt + (person.identity === null ? wholeMs : idleMs);
      if (endsAt <= at) return null;
      if (at - session.seenAt >= notedEveryMs) await keep(id, { ...session, seenAt: at });
      return { person, endsAt };
    },
    async begin(person) {
      await store.sessions.removeEnded(now());
      const secret = sessionPrefix + randomBytes(32).toString('base64url');
      const { name, identity, generation } = person;
      await keep(sessionId('web-session', secret), {
        person: name,
        identity,
        generation,
        createdAt: now(),
        seenAt: now(),
      });
      return secret;
    },
    async end(headers) {
      const secret = bearerOf(headers) ?? '';
      const signedIn = await sessions.personOf(secret);
      await store.sessions.take(sessionId('web-session', secret));
      return signedIn?.person ?? null;
    },
  };
  return sessions;
}

/** Returns the token of the field `Authorization` (RFC 6750 §2.1). */
export function bearerOf(headers: Headers): string | undefined {
  return /^Bearer +(\S+) *$/i.exec(headers.get('authorization') ?? '')?.[1];
}

/**
 * Signs a person in: ends the session of the request, records the sign-in, and returns a new secret.
 *
 * @param how reason of the audit event
 * @throws SidekeyError `audit_unavailable`
 */
export async function signIn(
  person: PersonRecord,
  how: string,
  headers: Headers,
  parts: SessionParts & Pick<ServiceParts, 'audit'>,
): Promise<string> {
  const sessions = createWebSessions(parts);
  await sessions.end(headers);
  await parts.audit.append({ event: 'person.signed_in', by: person.name, reason: how });
  return sessions.begin(person);
}

/**
 * Refuses a request from a page of another origin (cross-site request forgery). Browsers send `Origin` with
 * every request but GET, and `Sec-Fetch-Site` with every one.
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
