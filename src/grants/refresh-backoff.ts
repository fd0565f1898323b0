/**
 * When a grant may next be refreshed after a refresh has failed: one memory for each grant, shared by all that wait, so
 * that a thousand requests press a failing provider no harder than one.
 */
export interface RefreshBackoff {
  /** `retryAfterMs`: what the provider asked for; it is heeded before our own. */
  failed(grantId: string, reason: string, retryAfterMs: number | null): void;
  succeeded(grantId: string): void;
  /** Milliseconds until the next try; 0: now. Requests that wait try sooner than the background does. */
  wait(grantId: string, who: 'request' | 'background'): number;
  /** Why the last try failed; null: none did. */
  reason(grantId: string): string | null;
}

interface Failure {
  readonly count: number;
  readonly at: number;
  /** 0.5 to 1: processes that failed together do not come back together. */
  readonly jitter: number;
  readonly notBefore: number;
  readonly reason: string;
}

const steps = {
  request: { first: 250, most: 4_000 },
  background: { first: 1_000, most: 60_000 },
} as const;

/** `now` in milliseconds since the epoch; `random` from 0 to 1. */
export function createRefreshBackoff(now: () => number, random: () => number): RefreshBackoff {
  const failures = new Map<string, Failure>();
  return {
    failed(grantId, reason, retryAfterMs) {
      const at = now();
      failures.set(grantId, {
        count: (failures.get(grantId)?.count ?? 0) + 1,
        at,
        jitter: 0.5 + random() / 2,
        notBefore: at + (retryAfterMs ?? 0),
        reason,
      });
    },
    succeeded(grantId) {
      failures.delete(grantId);
    },
    wait(grantId, who) {
      const failure = failures.get(grantId);
      if (failure === undefined) return 0;
      const { first, most } = steps[who];
      const own = Math.min(first * 2 ** (failure.count - 1), most) * failure.jitter;
      const time = now();
      // A clock that was set back must not stretch the wait beyond what it was.
      const elapsed = Math.max(0, time - failure.at);
      return Math.max(0, Math.ceil(Math.max(own, failure.notBefore - failure.at) - elapsed));
    },
    reason: (grantId) => failures.get(grantId)?.reason ?? null,
  };
}
