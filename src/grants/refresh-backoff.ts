import type { OpenedGrant } from '../domain/credential.ts';

/**
 * Back-off after failed refreshes, per grant and shared by all waiting requests, so that a thousand of them
 * call a failing provider as rarely as one. Also per token endpoint: if it fails for one grant, background
 * refreshes of its other grants pause.
 */

/** Grant of a refresh, and the endpoint that it calls. */
interface RefreshPlace {
  readonly grantId: string;
  /** Shared by all grants whose tokens come from the same place. */
  readonly endpoint: string;
}

/**
 * Returns the place of a grant. If the credential has its own token endpoint, failures of the provider's
 * endpoint do not delay it.
 */
export function placeOf({ grant, sealed: { credential } }: OpenedGrant): RefreshPlace {
  const ownEndpoint = credential.type === 'oauth2' ? credential.tokenEndpoint : null;
  return { grantId: grant.id, endpoint: ownEndpoint ?? grant.provider };
}

interface Failure {
  readonly count: number;
  readonly at: number;
  /** 0.5 to 1, so that processes that failed together retry at different times. */
  readonly jitter: number;
  /** Delay from the provider, in milliseconds. */
  readonly askedMs: number;
  readonly reason: string;
}

const steps = {
  request: { first: 250, max: 8_000 },
  background: { first: 1_000, max: 900_000 },
  // Short, so that one failing grant does not delay the others for long.
  endpoint: { first: 1_000, max: 60_000 },
} as const;

/** `now` in milliseconds since the epoch; `random` from 0 to 1. */
export function createRefreshBackoff(now: () => number, random: () => number) {
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

  function left(failure: Failure | undefined, { first, max }: { first: number; max: number }): number {
    if (failure === undefined) return 0;
    const backoffMs = Math.min(first * 2 ** (failure.count - 1), max) * failure.jitter;
    // A clock that was set back must not extend the wait.
    const elapsed = Math.max(0, now() - failure.at);
    return Math.max(0, Math.ceil(Math.max(backoffMs, failure.askedMs) - elapsed));
  }

  return {
    /** Notes a failure. `retryAfterMs`: delay from the provider, which overrides ours if longer. */
    failed({ grantId, endpoint }: RefreshPlace, reason: string, retryAfterMs: number | null): void {
      add(grants, grantId, reason, retryAfterMs);
      add(endpoints, endpoint, reason, retryAfterMs);
    },
    succeeded({ grantId, endpoint }: RefreshPlace): void {
      grants.delete(grantId);
      endpoints.delete(endpoint);
    },
    /** Ends the pause of a grant, but not of its endpoint. */
    settled(grantId: string): void {
      grants.delete(grantId);
    },
    /**
     * Milliseconds until the next attempt; 0: now. Waiting requests retry sooner than the background, and
     * ignore failures of other grants.
     */
    wait({ grantId, endpoint }: RefreshPlace, who: 'request' | 'background'): number {
      const grantMs = left(grants.get(grantId), steps[who]);
      return who === 'request' ? grantMs : Math.max(grantMs, left(endpoints.get(endpoint), steps.endpoint));
    },
    /** Returns why the last attempt failed; null: it did not. */
    reason: (grantId: string) => grants.get(grantId)?.reason ?? null,
  };
}
