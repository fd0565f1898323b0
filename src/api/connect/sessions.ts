import { randomBytes } from 'node:crypto';
import { z } from 'zod';
import { consentShape, registrationSteps, scopesFor } from '../../grants/consent.ts';
import type { Provider } from '../../domain/provider.ts';
import { sessionsOf } from '../../grants/sessions.ts';
import { inputInvalid, SidekeyError } from '../../lib/errors.ts';
import type { Hint } from '../../lib/hint.ts';
import { orMeant } from '../../lib/text.ts';
import type { ServiceParts } from '../parts.ts';
import { clientOf } from '../../operations/connect/consent.ts';
import { standsFor } from '../../operations/sign-in-link.ts';

/**
 * Connect sessions: an application requests a grant of a person, who consents in a browser. The link of a
 * session is a secret and works once. The id of the session leads to its result.
 */

/** Milliseconds for a person to consent. */
const sessionMs = 900_000;
/** Milliseconds for which the result of a session is stored. */
const keptMs = 86_400_000;

/** Settings of a stored session. Strict: one of another version ends instead of losing its limits. */
const policyShape = z
  .strictObject({
    ttl: z.number(),
    max_ttl: z.number(),
    lease_ttl: z.number(),
    max_lease_ttl: z.number(),
    labels: z.array(z.string()),
    metadata: z.record(z.string(), z.string()),
  })
  .partial();

const sessionShape = z.object({
  id: z.string(),
  provider: z.string(),
  user: z.string(),
  /** Name of the grant. */
  name: z.string(),
  scopes: z.array(z.string()),
  /** Address to return to; null: the browser shows the result. */
  returnUrl: z.string().nullable(),
  /** Origin of the page that may get the result; null: none. */
  popupOrigin: z.string().nullable(),
  policy: policyShape,
  /** Name of the API key. */
  by: z.string(),
  /** The person who created the session, or whose key did; null: nobody, or an old session. */
  person: z
    .object({ name: z.string(), createdAt: z.number(), generation: z.number() })
    .nullable()
    .default(null),
  expiresAt: z.number(),
});

/** A session, as its application requested it. */
export type ConnectSession = z.infer<typeof sessionShape>;

const endShape = z.union([
  z.object({ grantId: z.string() }),
  z.object({ error: z.object({ code: z.string(), detail: z.string() }) }),
]);

export type SessionEnd = z.infer<typeof endShape>;

/** Returns the records of sessions. */
export function recordsOf(parts: ServiceParts) {
  return {
    /** Keyed by the token of the link, until it is used. */
    links: sessionsOf('connect-link', sessionShape, parts),
    /** Keyed by id. */
    begun: sessionsOf('connect-begun', sessionShape, parts),
    ends: sessionsOf('connect-end', endShape, parts),
    /** Keyed by the state of the consent and the secret of the browser that began it. */
    consents: sessionsOf('connect-consent', consentShape.extend({ session: sessionShape }), parts),
  };
}

/** Address to which providers send browsers. */
export function callbackUrl({ url }: Pick<ServiceParts, 'url'>): string {
  return `${url()}/connect/callback`;
}

/** A request for a session. */
export interface Wanted extends Pick<ConnectSession, 'provider' | 'user' | 'policy' | 'by'> {
  readonly scopes: readonly string[] | undefined;
  readonly name: string | undefined;
  /** Name of the person behind the caller; null: none. */
  readonly owner: string | null;
  readonly returnUrl?: string | undefined;
  readonly popupOrigin?: string | undefined;
  /** Origin of the page of Sidekey that sent the request; null: a program sent it. */
  readonly pageOrigin?: string | null;
}

/**
 * Creates a session. Sends the provider nothing. Returns the session and the token of its link.
 *
 * @throws SidekeyError `provider_unknown`, `config_invalid`, `input_invalid`, `already_exists`; errors of the
 * client secret
 */
export async function createSession(
  wanted: Wanted,
  parts: ServiceParts,
): Promise<{ readonly session: ConnectSession; readonly token: string }> {
  const { session } = await newSession(wanted, 'browser', parts);
  const token = `${session.id}.${randomBytes(32).toString('base64url')}`;
  await keepSession(session, parts);
  await recordsOf(parts).links.put(token, session, session.expiresAt);
  return { session, token };
}

/** Stores a session for as long as its state can be read. */
export async function keepSession(session: ConnectSession, parts: ServiceParts): Promise<void> {
  await recordsOf(parts).begun.put(session.id, session, session.expiresAt + keptMs);
}

/** Returns a session to begin, and its provider with the client secret. @throws as `createSession` */
export async function newSession(
  wanted: Wanted,
  flow: keyof typeof consentEndpoints,
  parts: ServiceParts,
): Promise<{ readonly session: ConnectSession; readonly provider: Provider }> {
  const { user, policy, by, name = wanted.provider } = wanted;
  const found = await providerOf(wanted.provider, parts);
  const { existing, provider } = await clientOf(parts, found, { name, user });
  await assertClient(provider, flow, callbackUrl(parts));
  const { returnUrls } = (await parts.config()).admin;
  const back = wanted.returnUrl === undefined ? null : returnUrl(wanted.returnUrl, returnUrls);
  if (back === null && wanted.returnUrl !== undefined) throw unregistered('return_url');
  const popupOrigin = wanted.popupOrigin ?? null;
  const origins = [wanted.pageOrigin, ...[parts.url(), ...returnUrls].map((each) => new URL(each).origin)];
  if (popupOrigin !== null && !origins.includes(popupOrigin)) throw unregistered('popup_origin');
  const id = `cs_${randomBytes(16).toString('base64url')}`;
  const expiresAt = parts.now() + sessionMs;
  const scopes = [...scopesFor(wanted.scopes, provider, existing?.grant ?? null)];
  const person = wanted.owner === null ? null : await parts.store.people.get(wanted.owner);
  const facts = { id, provider: provider.name, user, name, scopes, policy, by, person, expiresAt };
  return { session: { ...facts, returnUrl: back?.href ?? null, popupOrigin }, provider };
}

/** @throws SidekeyError `api_auth_required` if the session's person was disabled or removed since */
export async function assertStands({ person }: ConnectSession, { store }: ServiceParts): Promise<void> {
  if (person === null || standsFor(await store.people.get(person.name), person)) return;
  const sentence = `${person.name}, who asked for this consent, may not ask any more.`;
  throw new SidekeyError('api_auth_required', sentence, { hint: 'ask the operator for another link' });
}

/** A session and its present state. */
type SessionStatus = {
  readonly session: ConnectSession;
  readonly status: 'pending' | 'connected' | 'failed' | 'expired';
  readonly end: SessionEnd | null;
};

/** @throws SidekeyError `not_found` */
export async function statusOf(id: string, parts: ServiceParts): Promise<SessionStatus> {
  const { begun, ends } = recordsOf(parts);
  const session = await begun.get(id);
  if (session === null) {
    throw new SidekeyError('not_found', 'There is no connect session of this id.', {
      hint: 'the end of a session can be read for a day: POST /v2/connect-sessions begins another',
    });
  }
  const end = await ends.get(id);
  if (end === null) return { session, end, status: session.expiresAt <= parts.now() ? 'expired' : 'pending' };
  if ('grantId' in end) return { session, end, status: 'connected' };
  return { session, end, status: end.error.code === 'consent_missing' ? 'expired' : 'failed' };
}

/** Stores the result of a session, and returns it. */
export async function endSession(
  { id }: ConnectSession,
  end: SessionEnd,
  parts: ServiceParts,
): Promise<SessionEnd> {
  await recordsOf(parts).ends.put(id, end, parts.now() + keptMs);
  return end;
}

export function failedEnd({ code, message }: SidekeyError): SessionEnd {
  return { error: { code, detail: message } };
}

/** @throws SidekeyError `provider_unknown` */
export async function providerOf(name: string, { config }: Pick<ServiceParts, 'config'>): Promise<Provider> {
  const { providers } = await config();
  const provider = providers.get(name);
  if (provider !== undefined) return provider;
  const sentence = `There is no provider ${name}${orMeant(name, providers.names)}`;
  throw new SidekeyError('provider_unknown', sentence, { hint: 'GET /v2/providers lists them' });
}

/** Reports whether the usual flow of a provider is the sign-in at the issuer of `admin.oidc`. */
export function isBySignIn({ flows }: Pick<Provider, 'flows'>): boolean {
  return flows[0] === 'id_jag';
}

/** Endpoints at which a consent begins. */
const consentEndpoints = { browser: 'authorizationEndpoint', device: 'deviceAuthorizationEndpoint' } as const;

/** @throws SidekeyError `config_invalid` if this provider has no consent; errors of the client secret */
async function assertClient(
  provider: Provider,
  flow: keyof typeof consentEndpoints,
  redirectUri: string,
): Promise<void> {
  const { name, title, tokenEndpoint, clientId, settings } = provider;
  const open = settings.filter(({ value }) => value === null).map((each) => each.name);
  if (open.length > 0) {
    throw invalid(
      `${title} needs to know: ${open.join(', ')}.`,
      `set providers.${name}.settings in the config file`,
    );
  }
  const isSignIn = flow === 'browser' && isBySignIn(provider);
  if ((provider[consentEndpoints[flow]] === null && !isSignIn) || tokenEndpoint === null) {
    throw flow === 'browser'
      ? invalid(`${title} gives no consent in a browser.`, 'store its key: POST /v2/users/{user}/tokens')
      : invalid(
          `${title} gives no consent on another device.`,
          `POST /v2/connect-sessions; where it has one: set providers.${name}.device_authorization_endpoint`,
        );
  }
  if (clientId === null) {
    throw invalid(
      `Sidekey is not registered at ${title} yet: providers.${name} has no client_id.`,
      [
        ...registrationSteps(provider, redirectUri),
        `set providers.${name}.client_id and client_secret in the config file`,
      ].join('\n  → '),
    );
  }
  await provider.clientSecret?.();
}

function invalid(message: string, hint: Hint): SidekeyError {
  return new SidekeyError('config_invalid', message, { hint });
}

function unregistered(member: 'return_url' | 'popup_origin'): SidekeyError {
  const what = member === 'return_url' ? 'an address' : 'the origin of an address';
  return inputInvalid(
    `${member} is not ${what} of admin.return_urls in its normal form.`,
    'add it to admin.return_urls in the config file: scheme, host, port and the beginning of the path must match',
  );
}

/**
 * Returns the address to send a browser back to; null if it is not registered, or if parsers may disagree on
 * it.
 *
 * @param registered addresses without a query; each covers its own path and the paths below it
 */
export function returnUrl(text: string, registered: readonly string[]): URL | null {
  const url = URL.parse(text);
  // Only the normal form: no user information, backslash, dot segment, upper case or number as the host.
  if (url === null || url.href !== text || url.username !== '' || url.password !== '') return null;
  if (text.includes('#') || url.pathname.includes('//') || /%(?:2e|2f|5c|00)/i.test(url.pathname))
    return null;
  return registered.some((prefix) => covers(new URL(prefix), url)) ? url : null;
}

function covers({ origin, pathname }: URL, url: URL): boolean {
  const folder = pathname.endsWith('/') ? pathname : `${pathname}/`;
  return origin === url.origin && (url.pathname === pathname || url.pathname.startsWith(folder));
}
