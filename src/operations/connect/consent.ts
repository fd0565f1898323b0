import { z } from 'zod';
import type { Grant } from '../../domain/grant.ts';
import type { Provider } from '../../domain/provider.ts';
import { noting } from '../../grants/connected.ts';
import { assertUnchanged, consentShape, pendingConsent } from '../../grants/consent.ts';
import {
  existingGrant,
  type KeepState,
  type Obtained,
  ownClient,
  ownClientShape,
  withClient,
} from '../../grants/keep.ts';
import {
  type Authorization,
  authorizationUrl,
  type Callback,
  type CodeExchange,
  exchangeCode,
} from '../../grants/oauth/authorization-code.ts';
import { assertReachable, type TokenFetch } from '../../grants/oauth/http.ts';
import { sessionsOf } from '../../grants/sessions.ts';
import { inputInvalid, SidekeyError } from '../../lib/errors.ts';
import { answerMs } from '../../proxy/policy/limits.ts';
import { findProvider } from '../lookup.ts';
import { planDomains } from './domains.ts';
import { type Connected, finishGrant, type Finishing } from './finish.ts';
import { redirectOf, writtenRedirectUri } from './redirect.ts';
import type { ConnectRequest, ConnectState } from './request.ts';

/** Consents in a browser. */

/**
 * Returns the grant to reconnect, the client secret that no file contains, and the provider with that secret.
 *
 * @throws SidekeyError `already_exists`: the grant is of another provider
 */
export async function clientOf(
  state: Pick<KeepState, 'store' | 'grants'>,
  provider: Provider,
  { name, user }: Pick<Grant, 'name' | 'user'>,
) {
  const existing = await existingGrant(state, { name, user, provider: provider.name });
  const client = (await ownClient(state, provider, existing)) ?? { secret: null };
  return { existing, secret: client.secret, provider: withClient(provider, client) };
}

/**
 * Begins a consent that may end in another process. Returns its URL, and the record that it ends with.
 *
 * @throws SidekeyError also if the token endpoint cannot be reached: the consent would be used up in vain
 */
export async function beginConsentAt(
  provider: Provider,
  asked: Pick<ConnectRequest, 'name' | 'user' | 'scopes'> & {
    readonly redirectUri: string;
    readonly state?: string | undefined;
    readonly fetch: TokenFetch;
  },
) {
  const { fetch, ...request } = asked;
  const begun = await authorizationUrl({ provider, ...request });
  await assertReachable(provider.tokenEndpoint, fetch);
  return { url: begun.url, pending: pendingConsent(provider, begun, request) };
}

/** A consent in a browser, independent of its request and response. */
export interface BrowserConsent<T> {
  /** Called once, when the redirect URI is known. */
  readonly begin: (redirectUri: string) => Promise<BegunConsent>;
  /** Called once, with a response for this flow. */
  readonly finish: (callback: Callback, redirectUri: string) => Promise<T>;
}

/** Facts that a pasted answer must match. */
export interface PasteExpectation {
  readonly state: string;
  /** Accepts a code without the rest of the address, because PKCE binds the code to this flow. */
  readonly takesBareCode: boolean;
  /** Parses the text. Default: RFC 6749 §4.1.2. */
  readonly read?: ((text: string) => Callback) | undefined;
}

interface BegunConsent extends PasteExpectation {
  readonly url: string;
}

/** Returns the consent that gets an authorization code (RFC 6749 §4.1, RFC 7636), for `keep` to store. */
export function codeConsent<T>(
  { provider, scopes, state, parts }: ConnectRequest,
  keep: (obtained: Obtained) => Promise<T>,
): BrowserConsent<T> {
  let begun: Authorization;
  return {
    async begin(redirectUri) {
      begun = await authorizationUrl({ provider, redirectUri, scopes });
      await assertReachable(provider.tokenEndpoint, parts.fetch);
      // Only PKCE binds a bare code to its flow, and nothing binds it to an account.
      const takesBareCode = begun.codeVerifier !== null && provider.dialect.accountParameters.length === 0;
      return { url: begun.url, state: begun.state, takesBareCode };
    },
    async finish(callback, redirectUri) {
      const exchange = { ...begun, provider, scopes, redirectUri, callback, acceptBareCode: true };
      return keep(await exchangeOnce({ ...exchange, fetch: parts.fetch }, state));
    },
  };
}

/**
 * Exchanges the code of a consent. Ignores Ctrl-C and the time limit of the person, because the code cannot
 * be sent twice.
 *
 * @throws SidekeyError as `exchangeCode`
 */
export function exchangeOnce(
  exchange: Omit<CodeExchange, 'now' | 'signal'>,
  { config, now }: Pick<ConnectRequest['state'], 'config' | 'now'>,
): Promise<Obtained> {
  const signal = AbortSignal.timeout(answerMs(config.limits));
  return exchangeCode({ ...exchange, now, signal });
}

/** Kind of the records of `connect --print-url`. */
export const kind = 'connect-session';

/** A started flow that waits for its callback. The store seals it. */
const sessionShape = consentShape.extend({
  /** Client of the grants of the provider; absent: the definition has it. */
  client: ownClientShape.optional(),
  /** Domain patterns for the map; null: those of the provider. */
  allowedDomains: z.array(z.string()).readonly().nullable(),
  widen: z.boolean(),
  /** False: leaves the allowed-domains map unchanged. */
  domains: z.boolean(),
});

/**
 * Begins a consent that `finishPending` completes.
 *
 * @param expiresAt milliseconds since the epoch
 */
export async function beginPending(
  request: Omit<ConnectRequest, 'parts' | 'signal' | 'output'> & { readonly secret: string | null },
  expiresAt: number,
) {
  const { state, provider, name, user, scopes, options, secret } = request;
  const redirectUri = writtenRedirectUri(redirectOf(options, provider));
  const asked = { redirectUri, scopes, name, user, state: checkedState(options.state) };
  const { url, pending } = await state.withFetch((fetch) => beginConsentAt(provider, { ...asked, fetch }));
  const subject = { user, provider: provider.name, grant: request.existing?.grant.id } as const;
  await state.audit.append({ event: 'grant.connecting', ...subject, reason: 'a consent elsewhere' });
  const { registered } = provider;
  const record = {
    ...pending,
    client: { secret, registered },
    allowedDomains: options.allowedDomains ?? null,
    widen: options.widen === true,
    domains: options.domains !== false,
  };
  await sessionsOf(kind, sessionShape, state)
    .put(pending.state, record, expiresAt)
    .catch((error: unknown) => {
      if (!(error instanceof SidekeyError) || error.code !== 'already_exists') throw error;
      throw new SidekeyError('already_exists', 'A consent with this state waits for its answer already.', {
        hint: 'choose another state, or leave --state out',
      });
    });
  return { url, state: pending.state, redirectUri };
}

/** Checks a state that the caller chose: nobody else may guess it (RFC 6749 §10.10). @throws SidekeyError */
function checkedState(state: string | undefined): string | undefined {
  if (state === undefined || /^[A-Za-z0-9._~-]{22,256}$/.test(state)) return state;
  throw inputInvalid(
    '--state is not a state of 22 to 256 letters, digits, dots, dashes, underscores and tildes.',
    'make it by chance, such as with: openssl rand -hex 16; or leave it out, and one is made',
  );
}

interface Answer {
  readonly callback: Callback;
  /** `stateOf` the callback. */
  readonly flowState: string;
  /** Name of the provider, if the person named one. */
  readonly named: string | undefined;
}

/** Completes a consent. @throws SidekeyError `bad_request`, `not_found`; errors of `finishGrant` */
export async function finishPending(
  state: ConnectState,
  { callback, flowState, named }: Answer,
  how: Pick<Finishing, 'verify' | 'metadata' | 'unreadable'>,
): Promise<{ readonly provider: Provider; readonly connected: Connected }> {
  const session = await sessionsOf(kind, sessionShape, state).take(flowState);
  if (session === null) {
    const sentence = 'No consent is waiting for that answer: it is finished, or it timed out.';
    throw new SidekeyError('not_found', sentence, {
      hint: 'begin again: sidekey connect PROVIDER --print-url',
    });
  }
  const { name, user, scopes, allowedDomains, ...choices } = session;
  if (named !== undefined && named !== session.provider) {
    throw new SidekeyError(
      'bad_request',
      `The answer is of a consent at ${session.provider}, and ends with it.`,
      { hint: `begin again: sidekey connect ${session.provider} --print-url` },
    );
  }
  const client = session.client ?? { secret: null };
  const provider = withClient(findProvider(state.config.providers, session.provider), client);
  assertUnchanged(provider, session);
  const existing = await existingGrant(state, { name, user, provider: provider.name });
  const wanted = allowedDomains === null ? choices : { ...choices, allowedDomains };
  const plan = planDomains(wanted, provider, existing?.sealed.audience ?? null);
  const connected = await state.withFetch((fetch) =>
    noting({ state, provider, user }, existing, async () => {
      const exchange = { ...session, provider, callback, acceptBareCode: true };
      const obtained = await exchangeOnce({ ...exchange, fetch }, state);
      const signal = AbortSignal.timeout(state.config.limits.refresh_timeout);
      const request = { state, parts: { fetch }, provider, name, user, scopes, signal, plan };
      return finishGrant({ ...request, ...how, flow: 'authorization_code', secret: client.secret }, obtained);
    }),
  );
  return { provider, connected };
}

/** Returns the state of the response. A bare code has none, so the user supplies it. @throws SidekeyError */
export function stateOf(callback: Callback, said: string | undefined): string {
  const [written, ...more] = callback.kind === 'code' ? [] : callback.parameters.getAll('state');
  if (more.length > 0 || (written !== undefined && said !== undefined && written !== said)) {
    throw new SidekeyError('bad_request', 'The address has another state than --state says.', {
      hint: 'leave --state out',
    });
  }
  const state = written ?? said;
  if (state !== undefined) return state;
  throw inputInvalid(
    'The answer does not name its consent.',
    'give the complete address, or add --state with the value that --print-url printed',
  );
}
