import type { Credential, DpopAlgorithm, OpenedGrant } from '../domain/credential.ts';
import type { Grant } from '../domain/grant.ts';
import { leaseStanding } from '../domain/lease.ts';
import type { Provider } from '../domain/provider.ts';
import { consentRemedy } from '../grants/messages.ts';
import { isScope, ungrantedScopes } from '../grants/oauth/scopes.ts';
import { proofKey } from '../proxy/schemes/dpop-proof.ts';
import type { GrantActivity, LeaseRecord, Store } from '../store/store.ts';
import { hintText } from '../lib/hint.ts';

/** Facts about a grant that follow from its credential and from the rights to use it. */

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
  return { at, scopes, command: hintText(consentRemedy(grant, scopes, provider, credential)) };
}

/** Returns the grant type and client id of an OAuth token; null if none or unknown. */
export function clientOf(credential: Credential, provider: Provider | undefined) {
  if (credential.type !== 'oauth2') return { grantType: null, id: null };
  const { flow, renewal, clientId } = credential;
  return { grantType: flow ?? renewal?.kind ?? null, id: clientId ?? provider?.clientId ?? null };
}

/** A key and its binding. */
interface BoundKey {
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

/** Maximum number of agents, and of leases, that are read. */
export const maxReaching = 100;

/** Returns agents bound to a grant, ordered by name, and leases for it whose agent reaches it. */
export async function reachedBy(store: Store, grant: Grant, now: number) {
  const agents = grant.lease === null ? await store.agents.reaching(grant, maxReaching) : [];
  const own = grant.lease === null ? null : await store.leases.get(grant.lease);
  const leases: LeaseRecord[] = own === null ? [] : [own];
  for (const { name: agent, disabledAt } of agents) {
    const limit = maxReaching - leases.length;
    if (disabledAt !== null || limit === 0) continue;
    leases.push(...(await store.leases.find({ agent, grant: grant.id, endsAfter: now, limit })));
  }
  return { agents, leases: leases.filter((lease) => leaseStanding(lease, now).state === 'active') };
}
