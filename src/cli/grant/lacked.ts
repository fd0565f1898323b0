/** Which consent an upstream missed in a grant, and how to give it. */
import { consentCommand } from '../../grants/missing-consent.ts';
import type { OpenedGrant } from '../../grants/opened-grants.ts';
import type { Provider } from '../../grants/provider.ts';
import { isScope, ungrantedScopes } from '../../oauth/scopes.ts';
import type { GrantActivity } from '../../store/store.ts';
import { isoTime, relativeTime } from '../time.ts';

/** What an upstream said last of scopes that the grant lacks. */
export interface Lacked {
  /** Milliseconds since the epoch. */
  readonly at: number;
  /** None: the upstream did not name them. */
  readonly scopes: readonly string[];
  /** What asks for them. */
  readonly command: string;
}

/** Null: nothing, or it was before the last consent, or the grant has all of it by now. */
export function lackedBy(
  { grant, sealed: { credential } }: OpenedGrant,
  activity: Pick<GrantActivity, 'lackedAt' | 'lacked'> | null,
  provider: Provider | undefined,
): Lacked | null {
  if (activity === null || activity.lackedAt === null) return null;
  const { lackedAt: at } = activity;
  // The store is not sealed, and the command is there to be pasted.
  const lacked = activity.lacked.filter(isScope);
  // A refresh gives the same scopes again: only a consent ends it, or another credential in the place of a pasted one.
  const givenAt = credential.type === 'oauth2' ? credential.consentedAt : grant.updatedAt;
  if (givenAt !== undefined && givenAt >= at) return null;
  const scopes = givenAt === undefined ? ungrantedScopes(lacked, grant.scopes) : lacked;
  if (scopes.length === 0 && activity.lacked.length > 0) return null;
  return { at, scopes, command: consentCommand(grant, scopes, provider, credential) };
}

/** For people: `read:org (2 h ago)`; null: there is nothing to say. */
export function lackedText(lacked: Lacked | null, now: number): string | null {
  if (lacked === null) return null;
  const { at, scopes } = lacked;
  return `${scopes.length === 0 ? 'not named' : scopes.join(' ')} (${relativeTime(at, now)})`;
}

/** For programs. */
export function lackedJson(lacked: Lacked | null): Readonly<Record<string, unknown>> | null {
  return lacked === null ? null : { ...lacked, at: isoTime(lacked.at) };
}
