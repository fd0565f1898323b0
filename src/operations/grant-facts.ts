import type { Credential, DpopAlgorithm } from '../domain/credential.ts';
import type { Provider } from '../domain/provider.ts';
import { consentCommand } from '../grants/messages.ts';
import { isScope, ungrantedScopes } from '../grants/oauth/scopes.ts';
import type { OpenedGrant } from '../grants/registry.ts';
import { proofKey } from '../proxy/schemes/dpop-proof.ts';
import type { GrantActivity } from '../store/store.ts';

/** Facts about a grant that follow from its credential. */

/** Missing scopes in the last report of an upstream. */
export interface Lacked {
  /** Milliseconds since the epoch. */
  readonly at: number;
  /** Empty: the upstream did not name them. */
  readonly scopes: readonly string[];
  readonly command: string;
}

/** Returns the lacking scopes; null: none, a report older than the consent, or scopes that it has now. */
export function lackedBy(
  { grant, sealed: { credential } }: OpenedGrant,
  activity: Pick<GrantActivity, 'lackedAt' | 'lacked'> | null,
  provider: Provider | undefined,
): Lacked | null {
  if (activity === null || activity.lackedAt === null) return null;
  const { lackedAt: at } = activity;
  // Keeps only valid scopes, because the store is not authenticated and users paste the command.
  const lacked = activity.lacked.filter(isScope);
  // A refresh returns the same scopes. Only a consent or a new credential changes them.
  const givenAt = credential.type === 'oauth2' ? credential.consentedAt : grant.updatedAt;
  if (givenAt !== undefined && givenAt >= at) return null;
  const scopes = givenAt === undefined ? ungrantedScopes(lacked, grant.scopes) : lacked;
  if (scopes.length === 0 && activity.lacked.length > 0) return null;
  return { at, scopes, command: consentCommand(grant, scopes, provider, credential) };
}

/** A key and its binding. */
export interface BoundKey {
  readonly algorithm: DpopAlgorithm;
  /** RFC 7638 thumbprint. */
  readonly thumbprint: string;
  /** True: the current access token is bound to the key. */
  readonly isBound: boolean;
}

/** Returns the DPoP key of a token; null: it has none. */
export function boundKeyOf(credential: Credential): BoundKey | null {
  if (credential.type !== 'oauth2' || credential.dpop === undefined) return null;
  const { key, isBound } = credential.dpop;
  const { algorithm, thumbprint } = proofKey(key);
  return { algorithm, thumbprint, isBound };
}

/** Reports whether a token is never sent: the provider requires a bound token, and this one is not bound. */
export function isUnbound(credential: Credential, provider: Provider | undefined): boolean {
  if (credential.type !== 'oauth2' || credential.accessToken === null) return false;
  return (provider?.dpop ?? null) !== null && credential.dpop?.isBound !== true;
}
