import { type Hint, hintOf, remedy } from '../../lib/hint.ts';
import type { EndpointDelay, EndpointError } from './http.ts';

/** Next steps for failures of a provider's endpoints. Pure. */

/** A permanent failure. `description`: of the provider. */
type Failure = Pick<EndpointError, 'error' | 'unusable' | 'movedTo' | 'hint'> & {
  readonly description?: string;
};

/**
 * Codes of RFC 6749, 8628, 8693, 8707 and 9449 and of widely used providers (GitHub, Google, Slack), with the
 * next step for the provider of this name.
 */
const steps: readonly (readonly [code: RegExp, step: (provider: string) => string])[] = [
  [
    /scope/,
    (provider) =>
      `ask for other scopes: the provider "${provider}" does not allow the client one of them, or requires one more`,
  ],
  [
    /^(unauthorized_client|unsupported_grant_type)$/,
    (provider) =>
      `let the client of the provider "${provider}" use this flow, where the client is registered; or use another flow`,
  ],
  [
    /^invalid_target$|resource|audience/,
    (provider) =>
      `check the API that the tokens are for: dialect.token_parameters of the provider "${provider}"`,
  ],
  [/redirect/, () => 'register the redirect URI of Sidekey with the client, where the client is registered'],
  [/^invalid_dpop_proof$/, () => 'check that the clock of this machine is right'],
  [
    /^(endpoint_invalid|answer_too_large)$/,
    (provider) => `check providers.${provider}.token_endpoint: it is the https URL of a token endpoint`,
  ],
  [
    /^(access_denied|org_internal|admin_policy_enforced|consent_required|interaction_required)$/,
    () => 'an administrator of the account may have to allow the client first',
  ],
  [
    /^(un(supported|expected)_token_type)$/,
    (provider) => `check which type of token the provider "${provider}" issues for this request`,
  ],
];

/**
 * Returns the next step that the failure itself shows, such as the key to change. A new refresh token is
 * stored, so no new consent is needed for a grant that exists. Null: the failure shows none.
 */
export function failureHint(provider: string, failure: Failure): Hint | null {
  const { error, description = '', unusable, movedTo, hint } = failure;
  if (hint !== undefined) return hint;
  if (error === 'endpoint_moved') return movedHint(provider, movedTo);
  if (unusable === undefined) {
    if (isAboutClient(failure) && error !== 'unauthorized_client') return null;
    const topic = error === 'invalid_request' ? description : error;
    return steps.find(([code]) => code.test(topic))?.[1](provider) ?? null;
  }
  const { tokenType } = unusable;
  const keys = `providers.${provider}.dialect.token_response`;
  return tokenType === null
    ? hintOf`set ${keys}.access_token to the member of the response that has the token: ${remedy('config.edit')}`
    : hintOf`if its API takes this token as a bearer token, add ${quoted(tokenType)} to ${keys}.token_types: ${remedy('config.edit')}`;
}

/** Reports whether the provider refused the client: its ID, its secret, or the way that sends them. */
export function isAboutClient({ error, description = '' }: Failure): boolean {
  return (
    /client|unauthorized|^application_/.test(error) ||
    (error === 'invalid_request' && /client/.test(description))
  );
}

/** Returns the next step for a code that only the provider explains. */
export function lookUpHint(provider: string, { error }: Failure): string {
  return /^(unnamed_error|invalid_request|)$/.test(error)
    ? `check what the provider "${provider}" demands of the request: token_endpoint and dialect of its definition`
    : `its documentation explains ${error}; "dialect" of the provider "${provider}" changes what is sent`;
}

/** Returns the next step for a failure that may pass. */
export function delayHint(provider: string, { hint, isForeign }: EndpointDelay): Hint {
  if (isForeign === true)
    return `check providers.${provider}.token_endpoint; if it is right, try again later`;
  return hint ?? 'try again later';
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
