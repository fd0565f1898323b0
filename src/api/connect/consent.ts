import { hash, randomBytes } from 'node:crypto';
import type { Origin } from '../../audit/event.ts';
import { withOrigin } from '../../audit/log.ts';
import { noting, storeGrant } from '../../grants/connected.ts';
import { assertUnchanged, pendingConsent } from '../../grants/consent.ts';
import { existingGrant, ownSecret, sealingSecret, withSecret } from '../../grants/keep.ts';
import type { OpenedGrant } from '../../grants/registry.ts';
import { SidekeyError } from '../../lib/errors.ts';
import { authorizationUrl, exchangeCode } from '../../oauth/authorization-code.ts';
import type { ServiceParts } from '../parts.ts';
import {
  callbackUrl,
  type ConnectSession,
  endSession,
  providerOf,
  recordsOf,
  type SessionEnd,
} from './sessions.ts';

/** The consent of a connect session, bound to the browser that begins it. */

/** A consent that has begun. */
interface Begun {
  /** Address of the provider. */
  readonly url: string;
  /** Name of the cookie, and the secret that binds the browser to the consent. */
  readonly cookie: readonly [name: string, value: string];
}

/**
 * Begins the consent of a session whose link was used.
 *
 * @param client address of the browser
 * @throws SidekeyError errors of `providerOf` and `authorizationUrl`
 */
export async function beginConsent(
  session: ConnectSession,
  client: string,
  parts: ServiceParts,
): Promise<Begun> {
  const { user, name, scopes } = session;
  const provider = await providerOf(session.provider, parts);
  const redirectUri = callbackUrl(parts);
  const begun = await authorizationUrl({ provider, redirectUri, scopes });
  const event = {
    event: 'grant.connecting',
    user,
    provider: provider.name,
    ...originOf(session, client),
  } as const;
  await parts.audit.append({ ...event, reason: `connect session ${session.id}` });
  const secret = randomBytes(32).toString('base64url');
  const pending = pendingConsent(provider, begun, { redirectUri, scopes, name, user });
  await recordsOf(parts).consents.put(`${begun.state}.${secret}`, { ...pending, session }, session.expiresAt);
  return { url: begun.url, cookie: [cookieName(begun.state, parts), secret] };
}

/** Returns the name of the cookie of a consent: a browser may have several under way. */
export function cookieName(state: string, { url }: Pick<ServiceParts, 'url'>): string {
  // The prefix keeps other hosts of the domain and connections without TLS from setting it (RFC 6265bis §4.1.3).
  const prefix = url().startsWith('https:') ? '__Host-' : '';
  return `${prefix}sidekey-connect-${hash('sha256', state).slice(0, 16)}`;
}

/** The end of a session, and the session. */
export interface Finished {
  readonly session: ConnectSession;
  readonly end: SessionEnd;
}

/**
 * Ends the consent to which an answer of a provider belongs. Null: none waits for it in this browser.
 *
 * @param secret value of the cookie
 * @throws SidekeyError errors of the store
 */
export async function finishConsent(
  parameters: URLSearchParams,
  secret: string,
  client: string,
  parts: ServiceParts,
): Promise<Finished | null> {
  const consent = await recordsOf(parts).consents.take(`${parameters.get('state')}.${secret}`);
  if (consent === null) return null;
  const { session, user, name } = consent;
  const origin = originOf(session, client);
  const state = { ...parts, audit: withOrigin(parts.audit, origin) };
  const connecting = async () => {
    const found = await providerOf(session.provider, parts);
    assertUnchanged(found, consent);
    const existing = await existingGrant(parts, { name, user, provider: found.name });
    const own = ownSecret(found, null, existing);
    const provider = withSecret(found, own);
    const upstream = { fetch: parts.fetch() };
    const signal = AbortSignal.timeout((await parts.config()).limits.refresh_timeout);
    return noting({ state, provider, user }, existing, async () => {
      const callback = { kind: 'parameters', parameters } as const;
      const io = { fetch: upstream.fetch, now: parts.now, signal };
      const obtained = await exchangeCode({ ...consent, ...io, provider, callback });
      const audience = [...new Set([...provider.audience, ...(existing?.sealed.audience ?? [])])];
      const flow = 'authorization_code';
      const refusesAccount = (details: Readonly<Record<string, string>>) => otherAccount(existing, details);
      const request = { state, provider, user, name, upstream, signal, audience, flow, refusesAccount };
      const sealing = sealingSecret(obtained, provider, own);
      const { grant } = await storeGrant({ ...request, verify: undefined, now: parts.now }, sealing);
      if (Object.keys(session.policy).length > 0) {
        await parts.runCommand({ command: 'grant set', args: [grant.id], options: session.policy }, origin);
      }
      return grant;
    });
  };
  const end: SessionEnd = await connecting().then(
    ({ id }) => ({ grantId: id }),
    (error: unknown) => {
      if (!(error instanceof SidekeyError)) parts.log.error({ err: error }, 'a connect session failed');
      const failure = error instanceof SidekeyError ? error : new SidekeyError('internal');
      return { error: { code: failure.code, detail: failure.message } };
    },
  );
  await endSession(session, end, parts);
  return { session, end };
}

function originOf({ by }: ConnectSession, client: string): Origin {
  return { by, client: `api:${client}` };
}

/** An account never takes the place of another one, whose grant programs use. */
function otherAccount(
  existing: OpenedGrant | null,
  { sub }: Readonly<Record<string, string>>,
): SidekeyError | null {
  const before = existing?.sealed.details?.['sub'];
  if (before === undefined || sub === undefined || before === sub) return null;
  return new SidekeyError('already_exists', 'The grant of this name belongs to another account.', {
    hint: 'sign in with the same account, or begin a session with another name',
  });
}
