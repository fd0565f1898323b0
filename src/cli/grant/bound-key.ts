/** What a person is told of the key that a grant's tokens are bound to (RFC 9449). Its thumbprint is public. */
import { proofKey } from '../../dpop/key.ts';
import type { Credential, DpopAlgorithm } from '../../grants/credential.ts';
import type { Provider } from '../../grants/provider.ts';
import { carriedAs } from '../provider/words.ts';

/** The key, and what is bound to it. */
export interface BoundKey {
  readonly algorithm: DpopAlgorithm;
  /** RFC 7638. */
  readonly thumbprint: string;
  /** Whether the access token of now is. */
  readonly isBound: boolean;
}

/** Null: the grant has no key. */
export function boundKeyOf(credential: Credential): BoundKey | null {
  if (credential.type !== 'oauth2' || credential.dpop === undefined) return null;
  const { key, isBound } = credential.dpop;
  const { algorithm, thumbprint } = proofKey(key);
  return { algorithm, thumbprint, isBound };
}

/** Whether a token goes nowhere, since the definition wants one that is bound and this one is not. */
export function isUnbound(credential: Credential, provider: Provider | undefined): boolean {
  if (credential.type !== 'oauth2' || credential.accessToken === null) return false;
  return (provider?.dpop ?? null) !== null && credential.dpop?.isBound !== true;
}

/** For a program. */
export function boundKeyJson(bound: BoundKey | null): unknown {
  if (bound === null) return null;
  const { algorithm, thumbprint, isBound } = bound;
  return { algorithm, thumbprint, token_bound: isBound };
}

/** One line; null: nothing is to be said. */
export function boundKeyText(credential: Credential, provider: Provider | undefined): string | null {
  const bound = boundKeyOf(credential);
  if (isUnbound(credential, provider)) return 'no key, though the provider is to bind its tokens to one';
  if (bound === null) return null;
  const { algorithm, thumbprint, isBound } = bound;
  return isBound
    ? `key ${thumbprint} (${algorithm}); ${carriedAs({ kind: 'dpop' })}`
    : `key ${thumbprint} (${algorithm}) from the next token on`;
}
