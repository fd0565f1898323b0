import { pause, type Timers } from '../lib/timers.ts';
import { scopesIn } from '../oauth/scopes.ts';
import type { OAuth2Credential } from '../domain/credential.ts';
import type { Grant } from '../domain/grant.ts';
import type { OpenedGrant, Registry } from './registry.ts';

/**
 * The commit of a provider's response, before anybody sees it: new tokens are stored, and a permanent refusal sets its
 * grant to `reauth_required`, unless another process was faster with either.
 */

/** An opened grant with an OAuth credential. */
export interface OAuthGrant extends OpenedGrant {
  readonly credential: OAuth2Credential;
}

/** The grant as an OAuth grant that may be refreshed; null where it is none, or its state forbids it. */
export function oauthGrant(opened: OpenedGrant | null): OAuthGrant | null {
  if (opened === null || opened.sealed.credential.type !== 'oauth2') return null;
  const { state } = opened.grant;
  return state === 'active' || state === 'expired'
    ? { ...opened, credential: opened.sealed.credential }
    : null;
}

/** Tokens from the provider, and the values that were sent for them. */
export interface NewTokens {
  /** Null: it took none; the renewal that `next` holds got them. */
  readonly usedRefreshToken: string | null;
  readonly next: OAuth2Credential;
}

type CommitOutcome =
  /** They are in the store. */
  | { readonly kind: 'stored'; readonly opened: OpenedGrant }
  /** Somebody else's tokens, or the end of the grant, came first: these are dropped. */
  | { readonly kind: 'overtaken' }
  /** The store did not take them; they are kept in memory, handed to nobody, and tried again. */
  | { readonly kind: 'kept' };

/** The one way of a refresh into the store. */
interface RefreshCommits {
  /** Never rejects. */
  commit(base: OAuthGrant, tokens: NewTokens): Promise<CommitOutcome>;
  /** Tokens that wait to be stored on top of this credential. */
  kept(grantId: string, credential: OAuth2Credential): NewTokens | null;
  /** Ids of the grants with tokens that wait to be stored. */
  waiting(): readonly string[];
  forget(grantId: string): void;
  /**
   * Turns the grant `reauth_required`. Null: somebody has changed it since it was used. Rejects with what the store
   * throws.
   */
  requireReauth(used: OAuthGrant, reason: string): Promise<Grant | null>;
}

const pausesMs = [20, 50, 100, 200, 400, 800];
/** Another write may come between reading and writing; so many in a row do not. */
const maxOvertakings = 32;

/**
 * Tokens that the store did not take are kept here, in memory, for as long as this is.
 * @param isHeld asks the store whether the lock of a grant is still this process's
 */
export function createRefreshCommits(
  registry: Registry,
  timers: Timers,
  isHeld: (grantId: string) => Promise<boolean>,
): RefreshCommits {
  const keptTokens = new Map<string, NewTokens>();

  async function store(base: OAuthGrant, next: OAuth2Credential): Promise<OpenedGrant | null> {
    // A write that was reported as failed may still have happened.
    if (isSame(base.credential, next)) return base;
    const sealed = { ...base.sealed, credential: next };
    const scopes = scopesIn(next.scope) ?? base.grant.scopes;
    const grant = await registry.replaceCredential(base.grant, sealed, { scopes });
    return grant === null ? null : { grant, sealed };
  }

  /** The grant as it is now, where the new tokens still belong on top of it. */
  async function again(grantId: string, tokens: NewTokens): Promise<OAuthGrant | null> {
    const stored = oauthGrant(await registry.read(grantId));
    if (stored === null) return null;
    if (isSame(stored.credential, tokens.next)) return stored;
    if (!belongsOn(stored.credential, tokens)) return null;
    // Clocks of machines differ. The fence: who took the lock since has newer tokens of the same refresh token.
    const isRotated = tokens.next.refreshToken !== tokens.usedRefreshToken;
    return isRotated || (await isHeld(grantId)) ? stored : null;
  }

  return {
    async commit(base, tokens) {
      const { id } = base.grant;
      keptTokens.set(id, tokens);
      let on = base;
      let failures = 0;
      for (let tries = 0; tries < maxOvertakings; tries += 1) {
        try {
          const stored = await store(on, tokens.next);
          if (stored !== null) {
            keptTokens.delete(id);
            return { kind: 'stored', opened: stored };
          }
          const moved = await again(id, tokens);
          if (moved === null) {
            keptTokens.delete(id);
            return { kind: 'overtaken' };
          }
          on = moved;
        } catch {
          const ms = pausesMs[failures];
          if (ms === undefined) break;
          failures += 1;
          await pause(timers, ms);
        }
      }
      return { kind: 'kept' };
    },

    kept(grantId, credential) {
      const tokens = keptTokens.get(grantId);
      return tokens !== undefined && belongsOn(credential, tokens) ? tokens : null;
    },

    waiting: () => [...keptTokens.keys()],

    forget(grantId) {
      keptTokens.delete(grantId);
    },

    async requireReauth(used, reason) {
      for (let tries = 0; tries < maxOvertakings; tries += 1) {
        const stored = oauthGrant(await registry.read(used.grant.id));
        if (stored === null || !isSame(stored.credential, used.credential)) return null;
        const grant = await registry.setState(stored.grant, 'reauth_required', reason);
        if (grant !== null) return grant;
      }
      return null;
    },
  };
}

/**
 * Returns whether new tokens may replace this credential: not where a person put another one in its place, nor where
 * another
 * process, which took the lock of one that was stopped, has stored newer tokens. A rotated refresh token belongs on its
 * predecessor, however old it is; of tokens that share one refresh token, the later ones count.
 */
function belongsOn(stored: OAuth2Credential, { usedRefreshToken, next }: NewTokens): boolean {
  if (stored.refreshToken !== usedRefreshToken || !hasSameRenewal(stored, next)) return false;
  return next.refreshToken !== usedRefreshToken || next.obtainedAt >= stored.obtainedAt;
}

function isSame(a: OAuth2Credential, b: OAuth2Credential): boolean {
  return a.accessToken === b.accessToken && a.refreshToken === b.refreshToken && hasSameRenewal(a, b);
}

/** Written the same: two that only look different are taken for two, which costs no more than a token. */
function hasSameRenewal(a: OAuth2Credential, b: OAuth2Credential): boolean {
  return JSON.stringify(a.renewal) === JSON.stringify(b.renewal);
}
