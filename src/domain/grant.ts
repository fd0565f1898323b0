/**
 * A grant: one account's authorization at one provider, for one user.
 * The columns a person may see; the credential itself is sealed and lives beside them (see `registry.ts`).
 */

/**
 * - `active`: usable.
 * - `expired`: its credential has ended and nothing can renew it.
 * - `revoked`: taken away by a person.
 * - `reauth_required`: the provider permanently refused the refresh; only a person can help, by a new consent.
 */
export type GrantState = 'active' | 'expired' | 'revoked' | 'reauth_required';

/** The user that grants belong to when nobody is named. */
export const defaultUser = 'default';

/** A grant without its sealed credential. */
export interface Grant {
  /** UUID; never changes, not even when consent is given again. */
  readonly id: string;
  /** Unique per user; letters, digits, dots, dashes and underscores. */
  readonly name: string;
  /** The user whose account this is. */
  readonly user: string;
  /** Name of the provider definition. */
  readonly provider: string;
  readonly type: 'oauth2' | 'api_key' | 'jwt' | 'basic' | 'headers' | 'aws' | 'client_certificate' | 'source';
  readonly state: GrantState;
  /** One sentence: why the state is not `active`. Never contains a secret. */
  readonly stateReason: string | null;
  /** Scopes as the provider granted them. */
  readonly scopes: readonly string[];
  /** The time at which the stored token ends, in milliseconds since the epoch; null: it says no end. */
  readonly expiresAt: number | null;
  /** True if a new token can be requested: by a refresh token, or another way. */
  readonly refreshable: boolean;
  /** Id of the lease that alone may use the grant, and with which it ends; null: it belongs to no lease. */
  readonly lease: string | null;
  /** Counts the writes of the sealed credential; part of the context of the seal. */
  readonly revision: number;
  /** Milliseconds since the epoch. */
  readonly createdAt: number;
  readonly updatedAt: number;
}

const namePattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

/** Returns whether a text can name a grant, a user, a provider or an agent. `+`, `:` and `=` are kept for selectors. */
export function isName(text: string): boolean {
  return namePattern.test(text);
}

interface Selection {
  /** The id, name or provider that the domain names. */
  readonly reference: string;
  /** The caller's own choice among what the domain offers: an id, a name, or a provider. */
  readonly grant?: string | null | undefined;
  /** The user whose grant the caller asks for. */
  readonly user?: string | null | undefined;
}

/** The state of a selected grant is not looked at here: it may be expired or revoked. */
export type Selected =
  | { readonly kind: 'selected'; readonly grant: Grant }
  | { readonly kind: 'ambiguous'; readonly candidates: readonly Grant[] }
  /** `users`: users with a grant that fits, for a request that names no user; absent: there are none. */
  | { readonly kind: 'missing'; readonly users?: readonly string[] };

/**
 * Picks the grant that a request uses, from those that match the domain's reference (see `Registry.find`). A selector
 * chooses among them and never reaches beyond them. An exact id or name goes before a provider of that name.
 */
export function selectGrant(candidates: readonly Grant[], selection: Selection): Selected {
  const { reference, grant, user } = selection;
  const offered = candidates.filter(
    (candidate) => matches(candidate, reference) && (user == null || candidate.user === user),
  );
  const left = nearest(offered, grant ?? reference);
  const [only, ...more] = left;
  if (only === undefined) return { kind: 'missing' };
  return more.length === 0 ? { kind: 'selected', grant: only } : { kind: 'ambiguous', candidates: left };
}

/** Returns whether a reference names this grant: by its id, its name, or its provider. */
export function matches(grant: Grant, reference: string): boolean {
  return grant.id === reference || grant.name === reference || grant.provider === reference;
}

/**
 * Returns the grants that requests can choose by a reference: of each user those that it names most exactly. A grant of one
 * user hides none of another.
 */
export function offeredGrants(reference: string, grants: readonly Grant[]): readonly Grant[] {
  const ofUsers = [...Map.groupBy(grants, ({ user }) => user).values()];
  const offered = new Set(ofUsers.flatMap((some) => nearest(some, reference)));
  return grants.filter((grant) => offered.has(grant));
}

function nearest(grants: readonly Grant[], reference: string): readonly Grant[] {
  for (const key of ['id', 'name', 'provider'] as const) {
    const left = grants.filter((grant) => grant[key] === reference);
    if (left.length > 0) return left;
  }
  return [];
}

/**
 * The state as it counts now. The store is told of an end when a request meets it, and a clock that was wrong may have
 * marked a good token: the clock decides, as it does for requests. `now` in milliseconds since the epoch.
 */
export function stateNow(grant: Grant, now: number): GrantState {
  if (grant.state !== 'active' && grant.state !== 'expired') return grant.state;
  return hasEnded(grant, now) && !grant.refreshable ? 'expired' : 'active';
}

/** Returns whether the stored token has ended; one that says no end has not. `now` in milliseconds since the epoch. */
export function hasEnded({ expiresAt }: Grant, now: number): boolean {
  return expiresAt !== null && expiresAt <= now;
}

/** `github`, or `github (user alice)`. */
export function titleOf({ name, user }: Pick<Grant, 'name' | 'user'>): string {
  return user === defaultUser ? name : `${name} (user ${user})`;
}
