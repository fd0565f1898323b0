import { pause, type Timers } from '../lib/timers.ts';
import { scopesIn } from '../oauth/scopes.ts';
import type { OAuth2Credential } from './credential.ts';
import type { Grant } from './grant.ts';
import type { OpenedGrant, Registry } from './registry.ts';

/**
 * What happens to a provider's answer before anybody gets to see it: new tokens are stored, and what was refused for
 * good condemns its grant, unless somebody else was faster with either.
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

/** Tokens that the provider gave, and what it took for them. */
export interface NewTokens {
  /** Null: it took none; the renewal that `next` holds got them. */
  readonly usedRefreshToken: string | null;
  readonly next: OAuth2Credential;
}

/** What became of new tokens. */
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
   * Turns the grant `reauth_required`. Null: it is not as it was when it was used, so there is nothing to condemn it
   * for. Rejects with what the store throws.
   */
  condemn(used: OAuthGrant, reason: string): Promise<Grant | null>;
}

const pausesMs = [20, 50, 100, 200, 400, 800];
/** Another write may come between reading and writing; so many in a row do not. */
const maxOvertakings = 32;

/** Tokens that the store did not take are kept here, in memory, for as long as this is. */
export function createRefreshCommits(registry: Registry, timers: Timers): RefreshCommits {
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
    return isSame(stored.credential, tokens.next) || belongsOn(stored.credential, tokens) ? stored : null;
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

    async condemn(used, reason) {
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
 * Whether new tokens may replace this credential: not where a person put another one in its place, nor where another
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

/**
 * When a grant may next be refreshed after a refresh has failed: one memory for each grant, shared by all that wait, so
 * that a thousand requests press a failing provider no harder than one. And one for each token endpoint: while it fails
 * for one grant, what nobody waits for is left alone for its other grants too.
 */

/** The memory of one process. */
interface RefreshBackoff {
  /** `retryAfterMs`: what the provider asked for; it is heeded before our own. */
  failed(at: RefreshPlace, reason: string, retryAfterMs: number | null): void;
  succeeded(at: RefreshPlace): void;
  /** Nothing is left to do for this grant; of its endpoint that says nothing. */
  settled(grantId: string): void;
  /**
   * Milliseconds until the next try; 0: now. Requests that wait try sooner than the background does, and do not wait
   * for what happened to other grants.
   */
  wait(at: RefreshPlace, who: 'request' | 'background'): number;
  /** Why the last try failed; null: none did. */
  reason(grantId: string): string | null;
}

/** Whose refresh it is, and who is asked. */
interface RefreshPlace {
  readonly grantId: string;
  /** The same for all grants whose tokens come from one place. */
  readonly endpoint: string;
}

/**
 * The place of a grant. Grants whose credential names a token endpoint of its own are not held up by what happens to the
 * provider's.
 */
export function placeOf({ grant, sealed: { credential } }: OpenedGrant): RefreshPlace {
  const own = credential.type === 'oauth2' ? credential.tokenEndpoint : null;
  return { grantId: grant.id, endpoint: own ?? grant.provider };
}

interface Failure {
  readonly count: number;
  readonly at: number;
  /** 0.5 to 1: processes that failed together do not come back together. */
  readonly jitter: number;
  /** What the provider asked for, in milliseconds. */
  readonly askedMs: number;
  readonly reason: string;
}

const steps = {
  request: { first: 250, most: 8_000 },
  background: { first: 1_000, most: 900_000 },
  // One grant that its provider cannot serve must not hold the others for long.
  endpoint: { first: 1_000, most: 60_000 },
} as const;

/** `now` in milliseconds since the epoch; `random` from 0 to 1. */
export function createRefreshBackoff(now: () => number, random: () => number): RefreshBackoff {
  const grants = new Map<string, Failure>();
  const endpoints = new Map<string, Failure>();

  function add(to: Map<string, Failure>, key: string, reason: string, retryAfterMs: number | null): void {
    to.set(key, {
      count: (to.get(key)?.count ?? 0) + 1,
      at: now(),
      jitter: 0.5 + random() / 2,
      askedMs: retryAfterMs ?? 0,
      reason,
    });
  }

  function left(failure: Failure | undefined, { first, most }: { first: number; most: number }): number {
    if (failure === undefined) return 0;
    const own = Math.min(first * 2 ** (failure.count - 1), most) * failure.jitter;
    // A clock that was set back must not stretch the wait beyond what it was.
    const elapsed = Math.max(0, now() - failure.at);
    return Math.max(0, Math.ceil(Math.max(own, failure.askedMs) - elapsed));
  }

  return {
    failed({ grantId, endpoint }, reason, retryAfterMs) {
      add(grants, grantId, reason, retryAfterMs);
      add(endpoints, endpoint, reason, retryAfterMs);
    },
    succeeded({ grantId, endpoint }) {
      grants.delete(grantId);
      endpoints.delete(endpoint);
    },
    settled(grantId) {
      grants.delete(grantId);
    },
    wait({ grantId, endpoint }, who) {
      const own = left(grants.get(grantId), steps[who]);
      return who === 'request' ? own : Math.max(own, left(endpoints.get(endpoint), steps.endpoint));
    },
    reason: (grantId) => grants.get(grantId)?.reason ?? null,
  };
}
