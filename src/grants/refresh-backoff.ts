/**
 * When a grant may next be refreshed after a refresh has failed: one memory for each grant, shared by all that wait, so
 * that a thousand requests press a failing provider no harder than one. And one for each token endpoint: while it fails
 * for one grant, what nobody waits for is left alone for its other grants too.
 */
import type { OpenedGrant } from './registry.ts';

/** The memory of one process. */
export interface RefreshBackoff {
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
export interface RefreshPlace {
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
