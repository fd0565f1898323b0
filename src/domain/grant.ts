/**
 * A grant: one account's authorization at one provider, for one user. Has the columns that a person may see;
 * the credential is sealed and stored beside them (see `registry.ts`).
 */

/**
 * - `active`: usable.
 * - `expired`: the credential has ended and cannot be renewed.
 * - `revoked`: revoked by a person.
 * - `reauth_required`: the provider permanently refused the refresh; a person must consent again.
 */
export type GrantState = 'active' | 'expired' | 'revoked' | 'reauth_required';

/** User that grants belong to if none is named. */
export const defaultUser = 'default';

/** A grant without its sealed credential. */
export interface Grant {
  /** UUID. A new consent does not change it. */
  readonly id: string;
  /** Unique per user; letters, digits, dots, dashes and underscores. */
  readonly name: string;
  /** User who owns the account. */
  readonly user: string;
  /** Name of the provider definition. */
  readonly provider: string;
  readonly type: 'oauth2' | 'api_key' | 'jwt' | 'basic' | 'headers' | 'aws' | 'client_certificate' | 'source';
  readonly state: GrantState;
  /** Reason for a state other than `active`, as one sentence without secrets. */
  readonly stateReason: string | null;
  /** Scopes as the provider granted them. */
  readonly scopes: readonly string[];
  /** Expiry of the stored token, in milliseconds since the epoch; null: no expiry is known. */
  readonly expiresAt: number | null;
  readonly refreshable: boolean;
  /** ID of the only lease that may use the grant and that the grant ends with; null: no lease. */
  readonly lease: string | null;
  /** ID of the grant whose request returned this credential, never a minted one; null: not minted. */
  readonly parent: string | null;
  /** Name of the row of `mints` that found the credential; null: not minted. */
  readonly mint: string | null;
  /** Labels that people gave the grant. Stored beside it and read with it; absent: none. */
  readonly labels?: readonly string[];
  /** End that people set, in milliseconds since the epoch. Stored as `labels`; absent: none. */
  readonly endsAt?: number;
  /** Counts the writes of the sealed credential; part of the context of the seal. */
  readonly revision: number;
  /** Milliseconds since the epoch. */
  readonly createdAt: number;
  readonly updatedAt: number;
}

const namePattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

/** Without `/`, `:`, `=`, `%` and blanks, which separate or escape user names in references and selectors. */
const userPattern = /^[A-Za-z0-9][A-Za-z0-9._@|+~-]{0,127}$/;

const idPattern = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** Returns whether a text has the form of an ID, which no name may have. */
export function isId(text: string): boolean {
  return idPattern.test(text);
}

/** Returns whether a text can name a grant, provider or agent. Selectors use `+`, `:` and `=`. */
export function isName(text: string): boolean {
  return namePattern.test(text);
}

/** Returns whether a text can name a user or a person: a user ID of a product, such as an e-mail address. */
export function isUserName(text: string): boolean {
  return userPattern.test(text);
}

/** Rules for names, as hints. */
export const nameRules = {
  name: 'use 1 to 64 letters, digits, dots, dashes and underscores, a letter or digit first',
  user: 'use 1 to 128 letters, digits and . _ - @ | + ~, a letter or digit first',
};

interface Selection {
  /** ID, name or provider that the domain names. */
  readonly reference: string;
  /** The caller's choice among the grants of the domain: an ID, a name, or a provider. */
  readonly grant?: string | null | undefined;
  /** User whose grant the caller requests. */
  readonly user?: string | null | undefined;
}

/** Result of a selection. The selected grant may be expired or revoked: states are not checked here. */
export type Selected =
  | { readonly kind: 'selected'; readonly grant: Grant }
  | { readonly kind: 'ambiguous'; readonly candidates: readonly Grant[] }
  /** `users`: users with a matching grant, for a request without a user; absent: none. */
  | { readonly kind: 'missing'; readonly users?: readonly string[] };

/**
 * Selects the grant of a request from those that match the domain's reference (see `Registry.find`). A
 * selector only chooses among them. An exact ID or name takes precedence over a provider of that name.
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

/** Returns whether a reference is the ID, the name or the provider of a grant. */
export function matches(grant: Grant, reference: string): boolean {
  return grant.id === reference || grant.name === reference || grant.provider === reference;
}

function nearest(grants: readonly Grant[], reference: string): readonly Grant[] {
  for (const key of ['id', 'name', 'provider'] as const) {
    const left = grants.filter((grant) => grant[key] === reference);
    if (left.length > 0) return left;
  }
  return [];
}

/**
 * Returns the state at `now`, in milliseconds since the epoch. The stored state may be outdated: it is
 * updated when a request meets an expiry, and a wrong clock may have marked a good token.
 */
export function stateNow(grant: Grant, now: number): GrantState {
  if (grant.state !== 'active' && grant.state !== 'expired') return grant.state;
  return hasEnded(grant, now) && !grant.refreshable ? 'expired' : 'active';
}

/** Returns whether the stored token has expired. `now` in milliseconds since the epoch. */
export function hasEnded({ expiresAt }: Grant, now: number): boolean {
  return expiresAt !== null && expiresAt <= now;
}

/** Milliseconds before the end of a token for which people are warned at most. */
const soonMs = 7 * 86_400_000;

/**
 * Returns whether the stored token ends soon, and nothing renews it: it is in the last fifth of its time
 * since it was stored, and in its last 7 days. Minted grants always end soon, so they never warn. `now` in
 * milliseconds since the epoch.
 */
export function endsSoon(grant: Grant, now: number): boolean {
  const { expiresAt, refreshable, parent, updatedAt } = grant;
  if (expiresAt === null || refreshable || parent !== null || stateNow(grant, now) !== 'active') return false;
  return expiresAt - now <= Math.min(soonMs, (expiresAt - updatedAt) / 5);
}

/** Formats `github`, or `github (user alice)`. */
export function titleOf({ name, user }: Pick<Grant, 'name' | 'user'>): string {
  return user === defaultUser ? name : `${name} (user ${user})`;
}
