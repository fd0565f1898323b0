import { authorizationUrl, exchangeCode, type Authorization } from '../../oauth/authorization-code.ts';
import type { Callback } from '../../oauth/callback.ts';
import { consentInBrowser, type BegunConsent } from './consent-in-browser.ts';
import type { FinishPage } from './finish-page.ts';
import type { ConnectRequest, Obtained } from './flow.ts';

/**
 * A consent in a browser (RFC 6749 §4.1, RFC 7636, RFC 8252). Unlike the other ways it keeps what it obtained before it
 * ends, so that the page in the browser tells what really came of it.
 *
 * @throws SidekeyError as `consentInBrowser` and `exchangeCode`; what `keep` rejects with
 */
export function byAuthorizationCode<T>(
  request: ConnectRequest,
  keep: (obtained: Obtained) => Promise<T>,
  page: (kept: T) => Omit<FinishPage, 'kind'>,
): Promise<T> {
  const { provider, scopes } = request;
  let begun: Authorization;
  return consentInBrowser(request, {
    async begin(redirectUri): Promise<BegunConsent> {
      begun = await authorizationUrl({ provider, redirectUri, scopes });
      return { url: begun.url, state: begun.state, takesBareCode: takesBareCode(request, begun) };
    },
    finish: async (callback, redirectUri) =>
      keep(await obtainByCode(request, { ...begun, redirectUri, acceptBareCode: true }, callback)),
    page,
  });
}

/** A code is tied to its flow by PKCE alone, and says nothing of the account. */
function takesBareCode(
  { provider }: Pick<ConnectRequest, 'provider'>,
  { codeVerifier }: Pick<Authorization, 'codeVerifier'>,
): boolean {
  return codeVerifier !== null && provider.dialect.callbackDetails.length === 0;
}

/** What a begun flow kept to itself, whichever process began it. */
export interface BegunCode extends Pick<Authorization, 'state' | 'codeVerifier'> {
  /** See `Authorization`; absent: as null. */
  readonly proofKey?: Authorization['proofKey'];
  readonly redirectUri: string;
  /** See `exchangeCode`. */
  readonly acceptBareCode: boolean;
}

/** Exchanges what came back. @throws SidekeyError as `exchangeCode` */
export async function obtainByCode(
  { context, state, exit, provider, scopes }: Omit<ConnectRequest, 'options' | 'signal' | 'existing'>,
  begun: BegunCode,
  callback: Callback,
): Promise<Obtained> {
  return exchangeCode({
    ...begun,
    provider,
    callback,
    scopes,
    fetch: exit.fetch,
    now: context.now,
    // Not the one that Ctrl-C and the time limit end: the code is used up when it has left.
    signal: AbortSignal.timeout(state.config.limits.refresh_timeout),
  });
}
