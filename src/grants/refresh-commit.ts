import { pause, type Timers } from '../lib/timers.ts';
import { scopesIn } from './oauth/scopes.ts';
import type { OAuth2Credential, OpenedGrant } from '../domain/credential.ts';
import type { Grant } from '../domain/grant.ts';
import type { RefreshLock } from './refresh-lock.ts';
import { refreshTimesOf } from './refresh-times.ts';
import type { Registry } from './registry.ts';

/**
 * Commits a provider's response before it is used: stores new tokens, or sets the grant to `reauth_required`
 * after a permanent refusal, unless another process was first.
 */

export interface OAuthGrant extends OpenedGrant {
  readonly credential: OAuth2Credential;
}

/** Returns the grant if it is an OAuth grant that may be refreshed in its state, else null. */
export function oauthGrant(opened: OpenedGrant | null): OAuthGrant | null {
  if (opened === null || opened.sealed.credential.type !== 'oauth2') return null;
  const { state } = opened.grant;
  return state === 'active' || state === 'expired'
    ? { ...opened, credential: opened.sealed.credential }
    : null;
}

/** Tokens from the provider, with the refresh token that was sent. */
export interface NewTokens {
  /** Refresh token that was sent; null if the renewal in `next` was sent instead. */
  readonly usedRefreshToken: string | null;
  readonly next: OAuth2Credential;
}

/** A grant whose tokens are stored. */
interface Committed extends OpenedGrant {
  /** The refresh is noted in the activity. */
  readonly isNoted: boolean;
}

const pausesMs = [20, 50, 100, 200, 400, 800];
/** Maximum retries after concurrent writes, far above what occurs. */
const maxOvertakings = 32;

/**
 * Stores the tokens of a refresh. Nothing else writes them.
 *
 * Tokens that the store refused stay in memory, for the lifetime of the returned object.
 * @param skewMs see `refreshTimesOf`; default: as much as the lifetime of a token permits
 */
export function createRefreshCommits(
  registry: Registry,
  timers: Timers,
  lock: Pick<RefreshLock, 'isHeld' | 'lockOf' | 'released'>,
  skewMs = Infinity,
) {
  const keptTokens = new Map<string, NewTokens>();

  async function store(base: OAuthGrant, next: OAuth2Credential, isEnd: boolean): Promise<Committed | null> {
    // A write that failed may still have happened. A provider may extend the life of the same token.
    if (isSame(base.credential, next) && base.credential.expiresAt === next.expiresAt)
      return { ...base, isNoted: false };
    const sealed = { ...base.sealed, credential: next };
    // Unchanged scopes keep the words that the grant was stored with.
    const isSameScope = next.scope === base.credential.scope;
    const scopes = (isSameScope ? null : scopesIn(next.scope)) ?? base.grant.scopes;
    const { ahead } = refreshTimesOf(sealed, { skewMs, dialect: null });
    const held = isEnd ? lock.lockOf(base.grant.id) : undefined;
    const change = { scopes, dueAt: ahead && Math.floor(ahead.from), lock: held };
    const grant = await registry.replaceCredential(base.grant, sealed, change);
    if (grant === null) return null;
    if (isEnd) lock.released(grant.id);
    return { grant, sealed, isNoted: isEnd };
  }

  /** Returns the current grant, if the new tokens still belong to it. */
  async function again(grantId: string, tokens: NewTokens): Promise<OAuthGrant | null> {
    const stored = oauthGrant(await registry.read(grantId));
    if (stored === null) return null;
    if (isSame(stored.credential, tokens.next)) return stored;
    if (!belongsOn(stored.credential, tokens)) return null;
    // Fence, as machine clocks differ: a later lock holder has newer tokens of the same refresh token.
    const isRotated = tokens.next.refreshToken !== tokens.usedRefreshToken;
    return isRotated || (await lock.isHeld(grantId)) ? stored : null;
  }

  return {
    /**
     * Stores tokens, and returns the grant with them. Null: other tokens, or the end of the grant, came
     * first, and the new ones are dropped. `kept`: the store refused them; they stay in memory, unused, and
     * are stored later. Never rejects.
     * @param isEnd the refresh has succeeded: its note is written, and its lock released, with the tokens
     */
    async commit(base: OAuthGrant, tokens: NewTokens, isEnd: boolean): Promise<Committed | null | 'kept'> {
      const { id } = base.grant;
      keptTokens.set(id, tokens);
      let on = base;
      let failures = 0;
      for (let tries = 0; tries < maxOvertakings; tries += 1) {
        try {
          const stored = await store(on, tokens.next, isEnd);
          if (stored !== null) {
            keptTokens.delete(id);
            return stored;
          }
          const moved = await again(id, tokens);
          if (moved === null) {
            keptTokens.delete(id);
            return null;
          }
          on = moved;
        } catch {
          const ms = pausesMs[failures];
          if (ms === undefined) break;
          failures += 1;
          await pause(timers, ms);
        }
      }
      return 'kept';
    },

    /** Returns the tokens waiting to replace this credential; null: none. */
    kept(grantId: string, credential: OAuth2Credential): NewTokens | null {
      const tokens = keptTokens.get(grantId);
      return tokens !== undefined && belongsOn(credential, tokens) ? tokens : null;
    },

    /** IDs of the grants with tokens that wait to be stored. */
    waiting: () => [...keptTokens.keys()],

    forget(grantId: string): void {
      keptTokens.delete(grantId);
    },

    /** Sets the grant to `reauth_required`. Null: it has changed meanwhile. Rejects with store errors. */
    async requireReauth(used: OAuthGrant, reason: string): Promise<Grant | null> {
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
 * Reports whether new tokens may replace this credential: not if a person replaced it, nor if another process
 * took over the lock and stored newer tokens. A rotated refresh token replaces its predecessor regardless of
 * age. Of tokens with the same refresh token, the latest count.
 */
function belongsOn(stored: OAuth2Credential, { usedRefreshToken, next }: NewTokens): boolean {
  if (stored.refreshToken !== usedRefreshToken || !hasSameRenewal(stored, next)) return false;
  return next.refreshToken !== usedRefreshToken || next.obtainedAt >= stored.obtainedAt;
}

function isSame(a: OAuth2Credential, b: OAuth2Credential): boolean {
  return a.accessToken === b.accessToken && a.refreshToken === b.refreshToken && hasSameRenewal(a, b);
}

/** Compares as text. A false mismatch only costs a token. */
function hasSameRenewal(a: OAuth2Credential, b: OAuth2Credential): boolean {
  return JSON.stringify(a.renewal) === JSON.stringify(b.renewal);
}
