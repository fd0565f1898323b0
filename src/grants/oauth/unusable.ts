import { type Hint, hintOf, remedy } from '../../lib/hint.ts';
import type { UnusableTokens } from './http.ts';

/**
 * Returns the hint for tokens that cannot be used: the key of the provider definition that changes that.
 * Their new refresh token is stored, so no new consent is needed for a grant that exists.
 */
export function unusableHint(provider: string, { tokenType }: UnusableTokens): Hint {
  const keys = `providers.${provider}.dialect.token_response`;
  return tokenType === null
    ? hintOf`set ${keys}.access_token to the member of the response that has the token: ${remedy('config.edit')}`
    : hintOf`if its API takes this token as a bearer token, add ${quoted(tokenType)} to ${keys}.token_types: ${remedy('config.edit')}`;
}

/** Hints are visible ASCII. */
function quoted(tokenType: string): string {
  return /^[\x20-\x7e]+$/.test(tokenType) ? JSON.stringify(tokenType) : 'the token_type';
}
