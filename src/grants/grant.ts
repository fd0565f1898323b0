/**
 * A grant: one account's authorization at one provider, for one user.
 * The columns a person may see; the credential itself is sealed and lives beside them (see `registry.ts`).
 */

/**
 * - `active`: usable.
 * - `expired`: its credential has ended and nothing can renew it.
 * - `revoked`: taken away by a person.
 * - `reauth_required`: the provider refused what gets its tokens for good; only a person can help, by a new consent.
 */
export type GrantState = 'active' | 'expired' | 'revoked' | 'reauth_required';

/** The user that grants belong to when nobody is named. */
export const defaultUser = 'default';

/** What is known of a grant without opening its seal. */
export interface Grant {
  /** UUID; never changes, not even when consent is given again. */
  readonly id: string;
  /** Unique per user; letters, digits, dots, dashes and underscores. */
  readonly name: string;
  /** Whose account this is. */
  readonly user: string;
  /** Name of the provider definition. */
  readonly provider: string;
  readonly type: 'oauth2' | 'api_key' | 'jwt' | 'basic' | 'headers' | 'aws' | 'client_certificate';
  readonly state: GrantState;
  /** One sentence: why the state is not `active`. Never contains a secret. */
  readonly stateReason: string | null;
  /** Scopes as the provider granted them. */
  readonly scopes: readonly string[];
  /** When the stored token ends, in milliseconds since the epoch; null: it says no end. */
  readonly expiresAt: number | null;
  /** Whether what gets a new token is stored: a refresh token, or another way. */
  readonly refreshable: boolean;
  /** Counts the writes of the sealed credential; part of what the seal is bound to. */
  readonly revision: number;
  /** Milliseconds since the epoch. */
  readonly createdAt: number;
  readonly updatedAt: number;
}

const namePattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

/** Whether a text can name a grant, a user, a provider or an agent. `+`, `:` and `=` are kept for selectors. */
export function isName(text: string): boolean {
  return namePattern.test(text);
}
