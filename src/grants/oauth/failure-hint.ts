import { type Hint, hintOf, remedy } from '../../lib/hint.ts';
import type { EndpointError } from './http.ts';

/** Next steps for failures that a key of the provider definition settles. Pure. */

/**
 * Returns the hint for a redirect, or for tokens that cannot be used: the key to change. A new refresh token
 * is stored, so no new consent is needed for a grant that exists. Null: no key settles this failure.
 */
export function failureHint(
  provider: string,
  { error, unusable, movedTo }: Pick<EndpointError, 'error' | 'unusable' | 'movedTo'>,
): Hint | null {
  if (error === 'endpoint_moved') return movedHint(provider, movedTo);
  if (unusable === undefined) return null;
  const { tokenType } = unusable;
  const keys = `providers.${provider}.dialect.token_response`;
  return tokenType === null
    ? hintOf`set ${keys}.access_token to the member of the response that has the token: ${remedy('config.edit')}`
    : hintOf`if its API takes this token as a bearer token, add ${quoted(tokenType)} to ${keys}.token_types: ${remedy('config.edit')}`;
}

/** Hints are visible ASCII. */
function quoted(tokenType: string): string {
  return /^[\x20-\x7e]+$/.test(tokenType) ? JSON.stringify(tokenType) : 'the token_type';
}

/** Returns the hint for a redirect of a provider's endpoint. `address`: undefined if it named none. */
export function movedHint(provider: string, address: string | undefined, key = 'token_endpoint'): string {
  const setting = `providers.${provider}.${key}`;
  return address === undefined
    ? `check ${setting}`
    : `where that is the right address: set ${setting} to ${address}`;
}
