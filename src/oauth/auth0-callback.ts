/** What comes back from Auth0 when an account was connected: as an authorization response, but for the name of its code. */
import type { Provider } from '../grants/provider.ts';
import { checkCallback, parseCallback, type Callback } from './callback.ts';

/** What such a callback is held against. */
export interface ConnectCallbackExpectation {
  /** The one that the login is at. */
  readonly provider: Provider;
  readonly state: string;
  readonly codeVerifier: string;
}

/**
 * Reads what a person pasted. Auth0's documentation has the code in the fragment of the URL, its libraries read it from
 * the query: both are taken.
 *
 * @throws SidekeyError `input_invalid`
 */
export function parseConnectCallback(text: string): Callback {
  const query = text.replace('#', text.includes('?') ? '&' : '?');
  return parseCallback(query.replace(/(^|[?&\s"'<])connect_code=/g, '$1code='));
}

/**
 * The code, for `completeConnection`. A code by itself is tied to the flow by its code verifier and its session.
 *
 * @throws SidekeyError as `checkCallback`
 */
export function checkConnectCallback(callback: Callback, expected: ConnectCallbackExpectation): string {
  return checkCallback(withCode(callback), { ...expected, acceptBareCode: true }).code;
}

function withCode(callback: Callback): Callback {
  if (callback.kind === 'code') return callback;
  const parameters = new URLSearchParams();
  for (const [name, value] of callback.parameters)
    parameters.append(name === 'connect_code' ? 'code' : name, value);
  return { kind: 'parameters', parameters };
}
