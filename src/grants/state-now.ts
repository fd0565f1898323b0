import type { Grant, GrantState } from './grant.ts';

/**
 * The state as it counts now. The store is told of an end when a request meets it, and a clock that was wrong may have
 * marked a good token: the clock decides, as it does for requests. `now` in milliseconds since the epoch.
 */
export function stateNow(grant: Grant, now: number): GrantState {
  if (grant.state !== 'active' && grant.state !== 'expired') return grant.state;
  return hasEnded(grant, now) && !grant.refreshable ? 'expired' : 'active';
}

/** Whether the stored token has ended; one that says no end has not. `now` in milliseconds since the epoch. */
export function hasEnded({ expiresAt }: Grant, now: number): boolean {
  return expiresAt !== null && expiresAt <= now;
}
