import type { Origin } from '../../domain/event.ts';
import { withOrigin } from '../../audit/log.ts';
import { noting, storeGrant } from '../../grants/connected.ts';
import { assertUnchanged } from '../../grants/consent.ts';
import { type Obtained, sealingSecret } from '../../grants/keep.ts';
import type { Provider } from '../../domain/provider.ts';
import type { OpenedGrant } from '../../domain/credential.ts';
import { SidekeyError } from '../../lib/errors.ts';
import { bySignIn } from '../../operations/connect/by-sign-in.ts';
import { beginConsentAt, clientOf, exchangeOnce } from '../../operations/connect/consent.ts';
import { planDomains } from '../../operations/connect/domains.ts';
import { keptSettings } from '../../operations/grant-settings.ts';
import { userOf } from '../../operations/kept-sign-in.ts';
import type { ServiceParts } from '../parts.ts';
import { createWebSessions } from '../web-session.ts';
import {
  assertStands,
  callbackUrl,
  type ConnectSession,
  endSession,
  failedEnd,
  providerOf,
  recordsOf,
  type SessionEnd,
} from './sessions.ts';

/** The consent of a connect session, bound to the browser that begins it. */

/**
 * Begins the consent of a session whose link was used.
 *
 * @param browser secret of the browser, in the storage of this origin
 * @param client address of the browser
 * @returns the address of the provider
 * @throws SidekeyError errors of `providerOf` and `authorizationUrl`
 */
export async function beginConsent(
  session: ConnectSession,
  browser: string,
  client: string,
  parts: ServiceParts,
): Promise<string> {
  const { user, name, scopes } = session;
  await assertStands(session, parts);
  const provider = await providerOf(session.provider, parts);
  const asked = { redirectUri: callbackUrl(parts), scopes, name, user, fetch: parts.fetch() };
  const { url, pending } = await beginConsentAt(provider, asked);
  await recordBegin(session, client, parts);
  const key = `${pending.state}.${browser}`;
  await recordsOf(parts).consents.put(key, { ...pending, session }, session.expiresAt);
  return url;
}

/** An ended session. */
export interface Finished {
  readonly session: ConnectSession;
  readonly end: SessionEnd;
}

/**
 * Completes the consent that a provider's response belongs to. Null: this browser has none.
 *
 * @param browser secret of the browser that got the response
 * @throws SidekeyError errors of the store
 */
export async function finishConsent(
  parameters: URLSearchParams,
  browser: string,
  client: string,
  parts: ServiceParts,
): Promise<Finished | null> {
  const consent = await recordsOf(parts).consents.take(`${parameters.get('state')}.${browser}`);
  if (consent === null) return null;
  const { session } = consent;
  const obtain = async (provider: Provider) => {
    assertUnchanged(provider, consent);
    const callback = { kind: 'parameters', parameters } as const;
    const exchange = { ...consent, provider, callback, fetch: parts.fetch() };
    return exchangeOnce(exchange, { config: await parts.config(), now: parts.now });
  };
  const flow = 'authorization_code';
  return { session, end: await concludeSession({ session, client, flow, obtain }, parts) };
}

/** A session that waits for its person's consent. */
interface Asking {
  readonly session: ConnectSession;
  /** Address of the client. */
  readonly client: string;
  readonly flow: 'authorization_code' | 'device_code' | 'id_jag';
  /** Returns the tokens of the consent. `provider` includes its client secret. */
  readonly obtain: (provider: Provider) => Promise<Obtained>;
}

/**
 * Stores the result of a consent as the grant of its session, under its policy, and ends the session.
 *
 * @throws SidekeyError errors of the store
 */
export async function concludeSession(asking: Asking, parts: ServiceParts): Promise<SessionEnd> {
  const { session, client, flow, obtain } = asking;
  const { user, name } = session;
  const state = { ...parts, audit: withOrigin(parts.audit, originOf(session, client)) };
  const connecting = async () => {
    const found = await providerOf(session.provider, parts);
    const { existing: before, secret, provider } = await clientOf(parts, found, session);
    return noting({ state, provider, user }, before, async () => {
      const obtained = await obtain(provider);
      await assertStands(session, parts);
      // The person may have taken minutes, in which another session stored another account's grant.
      const { existing } = await clientOf(parts, found, session);
      const upstream = { fetch: parts.fetch() };
      const signal = AbortSignal.timeout((await parts.config()).limits.refresh_timeout);
      const { audience } = planDomains({}, provider, existing?.sealed.audience ?? null);
      const refusesAccount = (details: Readonly<Record<string, string>>) => otherAccount(existing, details);
      const request = { state, provider, user, name, upstream, signal, audience, flow, refusesAccount };
      const sealing = sealingSecret(obtained, provider, secret);
      const settings = keptSettings(parts, session.policy);
      const { now } = parts;
      return (await storeGrant({ ...request, settings, verify: undefined, now }, sealing)).grant;
    });
  };
  const end: SessionEnd = await connecting().then(
    ({ id }) => ({ grantId: id }),
    (error: unknown) => {
      if (!(error instanceof SidekeyError)) parts.log.error({ err: error }, 'a connect session failed');
      return failedEnd(error instanceof SidekeyError ? error : new SidekeyError('internal'));
    },
  );
  return endSession(session, end, parts);
}

/**
 * Checks that the browser belongs to the user of a session: nobody else may connect the user's account.
 *
 * @param secret the session secret that the pages keep in this browser
 * @throws SidekeyError `sign_in_required`
 */
export async function assertOwnBrowser(
  { user }: ConnectSession,
  secret: unknown,
  parts: ServiceParts,
): Promise<void> {
  const signedIn = typeof secret === 'string' ? await createWebSessions(parts).personOf(secret) : null;
  if (signedIn !== null && userOf(signedIn.person) === user) return;
  const next = `Sign in at ${parts.url()}/, then open the link again.`;
  throw new SidekeyError('sign_in_required', `This browser is not signed in as ${user}. ${next}`);
}

/** Gets the token of a session whose link was used, and ends it. @throws SidekeyError errors of the store */
export async function connectBySignIn(
  session: ConnectSession,
  client: string,
  parts: ServiceParts,
): Promise<Finished> {
  await assertStands(session, parts);
  await recordBegin(session, client, parts);
  const config = await parts.config();
  const obtain = (provider: Provider) => {
    const fetch = parts.fetch();
    return bySignIn({
      ...session,
      provider,
      state: { ...parts, config },
      parts: { ...parts.renewal({ config, audit: parts.audit, fetch }), fetch },
      signal: AbortSignal.timeout(config.limits.refresh_timeout),
      options: {},
    });
  };
  return { session, end: await concludeSession({ session, client, flow: 'id_jag', obtain }, parts) };
}

/** Records the request for a consent. @throws SidekeyError `audit_unavailable` */
export async function recordBegin(
  session: ConnectSession,
  client: string,
  { audit }: Pick<ServiceParts, 'audit'>,
): Promise<void> {
  const { id, user, provider } = session;
  const reason = `connect session ${id}`;
  await audit.append({ event: 'grant.connecting', user, provider, reason, ...originOf(session, client) });
}

function originOf({ by }: ConnectSession, client: string): Origin {
  return { by, client: `api:${client}` };
}

/** Returns the refusal to replace a grant of another account, which programs may use. */
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
