import type { Grant } from '../../domain/grant.ts';
import type { Provider } from '../../domain/provider.ts';
import { pendingConsent } from '../../grants/consent.ts';
import { existingGrant, type KeepState, type Obtained, ownSecret, withSecret } from '../../grants/keep.ts';
import {
  type Authorization,
  authorizationUrl,
  type Callback,
  type CodeExchange,
  exchangeCode,
} from '../../grants/oauth/authorization-code.ts';
import type { ConnectRequest } from './request.ts';

/**
 * Returns the grant to reconnect, the client secret that no file contains, and the provider with that secret.
 *
 * @param registered secret of a client that was registered now; null: none
 * @throws SidekeyError `already_exists`: the grant is of another provider
 */
export async function clientOf(
  state: Pick<KeepState, 'grants'>,
  provider: Provider,
  { name, user }: Pick<Grant, 'name' | 'user'>,
  registered: string | null = null,
) {
  const existing = await existingGrant(state, { name, user, provider: provider.name });
  const secret = ownSecret(provider, registered, existing);
  return { existing, secret, provider: withSecret(provider, secret) };
}

/** Begins a consent that may end in another process. Returns its URL, and the record that it ends with. */
export async function beginConsentAt(
  provider: Provider,
  asked: Pick<ConnectRequest, 'name' | 'user' | 'scopes'> & { readonly redirectUri: string },
) {
  const begun = await authorizationUrl({ provider, ...asked });
  return { url: begun.url, pending: pendingConsent(provider, begun, asked) };
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

/** Returns the consent that gets an authorization code (RFC 6749 §4.1, RFC 7636). @param keep stores its tokens */
export function codeConsent<T>(
  { provider, scopes, state, parts }: ConnectRequest,
  keep: (obtained: Obtained) => Promise<T>,
): BrowserConsent<T> {
  let begun: Authorization;
  return {
    async begin(redirectUri) {
      begun = await authorizationUrl({ provider, redirectUri, scopes });
      // Only PKCE binds a bare code to its flow, and nothing binds it to an account.
      const takesBareCode = begun.codeVerifier !== null && provider.dialect.accountParameters.length === 0;
      return { url: begun.url, state: begun.state, takesBareCode };
    },
    finish: async (callback, redirectUri) =>
      keep(
        await exchangeOnce({ ...begun, provider, scopes, redirectUri, callback, fetch: parts.fetch }, state),
      ),
  };
}

/**
 * Exchanges the code of a consent that a person began here. Ignores Ctrl-C and the time limit, because the
 * code cannot be sent twice.
 *
 * @throws SidekeyError as `exchangeCode`
 */
export function exchangeOnce(
  exchange: Omit<CodeExchange, 'now' | 'signal' | 'acceptBareCode'>,
  { config, now }: Pick<ConnectRequest['state'], 'config' | 'now'>,
): Promise<Obtained> {
  const signal = AbortSignal.timeout(config.limits.refresh_timeout);
  return exchangeCode({ ...exchange, now, signal, acceptBareCode: true });
}
