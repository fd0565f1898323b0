import { dirname } from 'node:path';
import { z } from 'zod';
import type { Config } from '../config/config.ts';
import { plainDialect } from '../config/provider-dialect.ts';
import { readSecret } from '../config/secret-reference.ts';
import type { TokenAnswer } from '../grants/oauth/answer.ts';
import { withDescription } from '../grants/oauth/description.ts';
import { jwtPart, later } from '../grants/oauth/http.ts';
import { claimsIn } from '../grants/oauth/identity.ts';
import { type IdentitySource, refusedBy, type Unrenewed } from '../grants/oauth/id-jag.ts';
import type { SignIn } from '../grants/oauth/open-id.ts';
import { refreshOutcome } from '../grants/oauth/refresh.ts';
import { askTokenEndpoint, type TokenClient } from '../grants/oauth/token-endpoint.ts';
import { createRefreshLock, heldUp } from '../grants/refresh-lock.ts';
import { type SessionParts, sessionsOf } from '../grants/sessions.ts';
import { caughtFailure, SidekeyError } from '../lib/errors.ts';
import { withoutStop } from '../lib/text.ts';
import { pause, systemTimers } from '../lib/timers.ts';
import type { PersonRecord, Store } from '../store/store.ts';
import { standsFor } from './sign-in-link.ts';

/**
 * Sign-ins at the issuer of `admin.oidc`, kept for `keep_sign_in` to get tokens of services of that issuer.
 * The tokens are sealed, are in no backup, and are sent only to the token endpoint of the sign-in.
 */

const shape = z.strictObject({
  person: z.string(),
  generation: z.int(),
  createdAt: z.number(),
  /** Milliseconds since the epoch. */
  endsAt: z.number(),
  identity: z.string(),
  issuer: z.string(),
  clientId: z.string(),
  subject: z.string(),
  /** Claims that name the account. */
  account: z.record(z.string(), z.string()),
  tokenEndpoint: z.string(),
  auth: z.enum(['none', 'basic', 'post']),
  /** Null: the issuer renewed the sign-in without one. */
  idToken: z.string().nullable(),
  refreshToken: z.string().nullable(),
});

type KeptSignIn = z.infer<typeof shape>;

interface KeptParts extends SessionParts {
  readonly store: Pick<Store, 'sessions' | 'people' | 'locks'>;
  readonly config: Pick<Config, 'admin' | 'file' | 'limits'>;
}

const recordsOf = (parts: SessionParts) => sessionsOf('kept-sign-in', shape, parts);

/** Returns the user whose grants a person owns. */
export function userOf({ user, name }: Pick<PersonRecord, 'user' | 'name'>): string {
  return user ?? name;
}

/** Keeps a sign-in in place of the last one, if that is configured. Rejects with errors of the store. */
export async function keepSignIn(
  { claims, ...signIn }: SignIn,
  person: PersonRecord,
  parts: Pick<KeptParts, 'config'> & SessionParts,
): Promise<void> {
  const { oidc } = parts.config.admin;
  const { name, generation, identity } = person;
  if (oidc === null || oidc.keepSignInMs === null || identity === null) return;
  const { issuer, clientId } = oidc;
  const createdAt = parts.now();
  const endsAt = createdAt + oidc.keepSignInMs;
  const account = claimsIn(claims, []);
  const owner = { person: name, generation, createdAt, endsAt, identity };
  const kept = { ...owner, ...signIn, issuer, clientId, subject: claims.sub, account };
  await recordsOf(parts).put(userOf(person), kept, endsAt, true);
}

/**
 * Returns the kept sign-in of a user. Null: there is none, it has ended, the config has another issuer or
 * client, or the person was disabled or lost the role. Rejects with errors of the store.
 */
export async function signInOf(user: string, parts: KeptParts): Promise<KeptSignIn | null> {
  const { oidc } = parts.config.admin;
  const kept = await recordsOf(parts).get(user);
  if (kept === null || oidc === null || oidc.keepSignInMs === null) return null;
  if (kept.issuer !== oidc.issuer || kept.clientId !== oidc.clientId) return null;
  const person = await parts.store.people.get(kept.person);
  const stands = standsFor(person, kept) && person.identity === kept.identity && person.role !== 'none';
  return stands && userOf(person) === user ? kept : null;
}

interface SourceParts extends KeptParts {
  /** Guarded `fetch`. */
  readonly fetch: typeof fetch;
  readonly env: NodeJS.ProcessEnv;
}

/** Milliseconds that an ID token must still be valid. */
const leastMs = 30_000;

/**
 * Returns the source of identities: the ID token of a kept sign-in, renewed by its refresh token. One process
 * at a time, because the issuer may rotate the refresh token.
 */
export function identitySource(parts: SourceParts): IdentitySource {
  const lock = createRefreshLock({ ...parts, timers: systemTimers, limits: parts.config.limits });
  return async ({ user, identity }) => {
    // Before the lock, because a command that supplies the client secret may be slow.
    const clientSecret = await secretOf(parts).catch(caughtFailure);
    if (clientSecret instanceof SidekeyError)
      return refusedBy('sign_in_unusable', withoutStop(clientSecret.message));
    const name = `sign-in/${user}`;
    if (typeof (await lock.take(name, { patient: true })) === 'string')
      return later('the sign-in is in use for too long');
    try {
      const kept = await signInOf(user, parts);
      if (kept === null) return signInAgain(`no sign-in of ${user} is kept, or it has ended`);
      if (kept.identity !== identity)
        return signInAgain(`another account than that of this grant signed in as ${user}`);
      const { clientId, auth, idToken, refreshToken } = kept;
      const client = { clientId, clientSecret, auth };
      if (idToken !== null && hasTime(idToken, parts.now())) return signedIn(kept, client);
      if (refreshToken === null) {
        const why = 'its ID token has ended, and the identity provider gave no refresh token';
        return signInAgain(`the sign-in of ${user} is too old: ${why}`);
      }
      const question = {
        endpoint: kept.tokenEndpoint,
        client,
        dialect: plainDialect,
        grantType: 'refresh_token',
      };
      const parameters = { refresh_token: refreshToken };
      const answer = await lock.ask(
        name,
        (io) =>
          askTokenEndpoint(
            { ...question, parameters, secrets: [refreshToken] },
            { ...io, fetch: parts.fetch, now: parts.now },
          ),
        // A late answer is stored, too: it may have the only valid refresh token.
        () => undefined,
      );
      if (answer === null) return later(heldUp);
      const next = await renewed(kept, user, answer, parts);
      return 'kind' in next ? next : signedIn(next, client);
    } finally {
      await lock.release(name);
    }
  };
}

async function secretOf({ config: { admin, file }, env }: SourceParts): Promise<string | null> {
  const reference = admin.oidc?.clientSecret ?? null;
  const options = { env, cwd: dirname(file), where: 'admin.oidc.client_secret' };
  return reference && readSecret(reference, options);
}

function hasTime(idToken: string, now: number): boolean {
  const exp = jwtPart(idToken, 1)?.['exp'];
  return typeof exp === 'number' && exp * 1000 - leastMs > now;
}

function signedIn(
  { issuer, tokenEndpoint, subject, idToken, refreshToken }: KeptSignIn,
  client: TokenClient,
): Awaited<ReturnType<IdentitySource>> {
  const at = { kind: 'signed_in', issuer, tokenEndpoint, subject, client, dialect: plainDialect } as const;
  return idToken === null
    ? { ...at, token: refreshToken ?? '', tokenType: 'refresh_token' }
    : { ...at, token: idToken, tokenType: 'id_token' };
}

/** Stores the answer to a refresh, and returns the sign-in with its tokens. */
async function renewed(
  kept: KeptSignIn,
  user: string,
  answer: TokenAnswer,
  parts: SourceParts,
): Promise<KeptSignIn | Unrenewed> {
  const { host } = new URL(kept.issuer);
  const records = recordsOf(parts);
  // A newer sign-in, or none any more, is not changed.
  const isLast = async () => (await records.get(user))?.createdAt === kept.createdAt;
  const ended = async (why: string) => {
    if (await isLast()) await records.take(user);
    return signInAgain(`${host} ${why}`);
  };
  const store = async (next: KeptSignIn) => {
    const put = async () => {
      if (await isLast()) await records.put(user, next, kept.endsAt, true);
    };
    // The provider has rotated the refresh token, so `next` is its only copy.
    await put().catch(() => pause(systemTimers, 1_000).then(put));
    return next;
  };
  const outcome = refreshOutcome(answer);
  if (outcome.kind === 'later') return { ...outcome, reason: `at ${host}, ${outcome.reason}` };
  if (answer.kind !== 'tokens') {
    const why = answer.kind === 'error' ? withDescription(answer.error, answer.description) : answer.reason;
    if (outcome.kind === 'refused' && outcome.ends !== undefined)
      return ended(`has ended the sign-in of ${user} (${why})`);
    const rotated = answer.kind === 'error' ? answer.unusable?.refreshToken : null;
    if (rotated != null) await store({ ...kept, refreshToken: rotated });
    return refusedBy('sign_in_unusable', `${host} did not renew the sign-in of ${user} (${why})`);
  }
  const { idToken = null, refreshToken } = answer;
  if (idToken !== null && !isOfSame(idToken, kept))
    return ended(`renewed the sign-in of ${user} for another account`);
  return store({ ...kept, idToken, refreshToken: refreshToken ?? kept.refreshToken });
}

/** Reports whether a renewed ID token is of the same sign-in (OpenID Connect Core §12.2). */
function isOfSame(idToken: string, { issuer, subject, clientId }: KeptSignIn): boolean {
  const { iss, sub, aud } = jwtPart(idToken, 1) ?? {};
  return iss === issuer && sub === subject && [aud].flat().includes(clientId);
}

function signInAgain(description: string): Unrenewed {
  return refusedBy('sign_in_required', description);
}
