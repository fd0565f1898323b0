/**
 * One attempt to refresh a grant: take the lock that all processes of the store share, look again, ask the provider,
 * commit, give the lock back. What it must never do is lose a rotated refresh token, or use one twice.
 */
import { randomUUID } from 'node:crypto';
import type { AuditEvent } from '../audit/event.ts';
import type { RefreshOutcome, RefreshRequest } from '../oauth/refresh.ts';
import type { Store } from '../store/store.ts';
import type { Provider } from './provider.ts';
import {
  createRefreshCommits,
  grantEvent,
  oauthGrant,
  type NewTokens,
  type OAuthGrant,
} from './refresh-commit.ts';
import { planRefresh, type RefreshPlan } from './refresh-plan.ts';
import type { OpenedGrant, Registry } from './registry.ts';
import { pause, type Timers } from './timers.ts';
import { clockOf } from './token-clock.ts';

/** What a refresh is made of. */
export interface RefreshParts {
  readonly registry: Registry;
  readonly store: Store;
  readonly providers: (name: string) => Provider | undefined;
  /** `refreshToken` of `oauth/refresh.ts`, bound to its fetch. */
  readonly refresh: (
    request: RefreshRequest,
    io: { readonly signal: AbortSignal },
  ) => Promise<RefreshOutcome>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly skewMs: number;
  readonly limits: { readonly refresh_timeout: number; readonly refresh_patience: number };
  readonly audit: { note(event: AuditEvent): void };
  readonly timers: Timers;
}

/** How an attempt is made. */
export interface AttemptOptions {
  /** A token that an upstream refused: it counts as ended, whatever its clock says. */
  readonly unwanted: string | null;
  /** Whether to wait where another process holds the lock. */
  readonly patient: boolean;
  /** Aborted when the process stops: what only waits gives up; what has asked the provider finishes. */
  readonly stopping: AbortSignal;
}

/** What came of an attempt. */
export type AttemptOutcome =
  /** A new token is in the store. */
  | { readonly kind: 'renewed'; readonly opened: OpenedGrant }
  /** Nothing is left to do here: the record says what is what. */
  | { readonly kind: 'settled' }
  /** Another process is at it, and this attempt was not to wait. */
  | { readonly kind: 'elsewhere' }
  /** Stays so until the configuration or the grant changes. */
  | { readonly kind: 'refused'; readonly reason: string; readonly hint: string; readonly revision: number }
  | { readonly kind: 'transient'; readonly reason: string; readonly retryAfterMs: number | null }
  /** The store or the vault failed. */
  | { readonly kind: 'fault'; readonly error: unknown };

/** Attempts of this process, as one holder of the locks. */
export interface RefreshAttempts {
  /** Never rejects. For each grant one at a time. */
  attempt(grantId: string, options: AttemptOptions): Promise<AttemptOutcome>;
  /** Tries once more to store the tokens that the store did not take. Never rejects. */
  flush(): Promise<void>;
  /** The longest that an attempt takes once it has the lock, in milliseconds. */
  readonly longestMs: number;
}

/** Beyond the request itself: what a lock is held for while the record is read and the new token is committed. */
const marginMs = 5_000;
/** The longest that a store lends a lock for. */
const maxLockMs = 300_000;
const pollMs = { first: 25, most: 250 };

/** Each call makes a holder of its own: a process makes one. */
export function createRefreshAttempts(parts: RefreshParts): RefreshAttempts {
  const { registry, store, now, timers } = parts;
  const commits = createRefreshCommits(registry, timers);
  const holder = randomUUID();
  const requestMs = Math.min(parts.limits.refresh_timeout, maxLockMs - marginMs);
  const lockMs = requestMs + marginMs;

  /** The grant, where there is something left to do; null where somebody was faster, or it is not to be. */
  function unfinished(opened: OpenedGrant | null, unwanted: string | null): OAuthGrant | null {
    const grant = oauthGrant(opened);
    if (grant === null || grant.credential.refreshToken === null) return null;
    if (commits.kept(grant.grant.id, grant.credential) !== null) return grant;
    const fresh = clockOf(grant.credential, now(), parts.skewMs) === 'fresh';
    return fresh && grant.credential.accessToken !== unwanted ? null : grant;
  }

  async function attempt(grantId: string, options: AttemptOptions): Promise<AttemptOutcome> {
    try {
      const seen = unfinished(await registry.open(grantId), options.unwanted);
      if (seen === null) return { kind: 'settled' };
      // Before the lock: a secret may come from a command that takes its time.
      const plan = await planFor(seen);
      const waited = await takeLock(grantId, options);
      if (waited !== 'taken') return waited;
      const takenAt = now();
      try {
        const opened = unfinished(await registry.read(grantId), options.unwanted);
        if (opened === null) {
          commits.forget(grantId);
          return { kind: 'settled' };
        }
        const current = opened.grant.revision === seen.grant.revision ? plan : await planFor(opened);
        // The machine slept, or the secret took too long: another may hold the lock by now.
        if (Math.abs(now() - takenAt) > marginMs / 2) return transient('the refresh was held up');
        return await refreshOnce(opened, current);
      } finally {
        await release(grantId);
      }
    } catch (error) {
      return { kind: 'fault', error };
    }
  }

  function planFor({ grant, credential }: OAuthGrant): Promise<RefreshPlan> {
    return planRefresh(credential, parts.providers(grant.provider), grant.provider);
  }

  async function takeLock(
    grantId: string,
    { patient, stopping, unwanted }: AttemptOptions,
  ): Promise<'taken' | AttemptOutcome> {
    const deadline = now() + parts.limits.refresh_patience;
    for (let ms = pollMs.first; ; ms = Math.min(ms * 2, pollMs.most)) {
      if (stopping.aborted) return transient('Sidekey is stopping');
      if (await store.locks.acquire(lockOf(grantId), holder, lockMs)) return 'taken';
      if (!patient) return { kind: 'elsewhere' };
      if (now() >= deadline) return transient('another process has been refreshing this grant for too long');
      await pause(timers, ms, stopping);
      if (unfinished(await registry.open(grantId), unwanted) === null) return { kind: 'settled' };
    }
  }

  /** Where this fails, the lock ends by itself. */
  async function release(grantId: string): Promise<void> {
    await store.locks.release(lockOf(grantId), holder).catch(() => undefined);
  }

  async function refreshOnce(opened: OAuthGrant, plan: RefreshPlan): Promise<AttemptOutcome> {
    const { grant, credential } = opened;
    const begun = now();
    const kept = commits.kept(grant.id, credential);
    if (kept !== null) {
      const committed = await commit(opened, kept, begun);
      // Its access token may have ended while the store was away: the clock decides.
      return committed.kind === 'renewed' ? { kind: 'settled' } : committed;
    }
    if (plan.kind === 'impossible') return refuse(opened, plan.reason, plan.hint, begun);
    const outcome = await ask(plan.request);
    switch (outcome.kind) {
      case 'refreshed': {
        const next = {
          ...credential,
          accessToken: outcome.accessToken,
          refreshToken: outcome.refreshToken ?? credential.refreshToken,
          expiresAt: outcome.expiresAt,
          obtainedAt: outcome.obtainedAt,
          scope: outcome.scope ?? credential.scope,
        };
        return commit(opened, { usedRefreshToken: plan.request.refreshToken, next }, begun);
      }
      case 'invalid_grant': {
        const reason = sentence('the provider refused the refresh token', outcome.description);
        const condemned = await commits.condemn(opened, reason);
        if (condemned !== null) {
          parts.audit.note(
            grantEvent(condemned, {
              event: 'grant.reauth_required',
              outcome: 'failed',
              code: 'reauth_required',
              reason,
              duration_ms: now() - begun,
            }),
          );
        }
        return { kind: 'settled' };
      }
      case 'refused':
        return refuse(
          opened,
          sentence(`the provider refused the refresh with ${outcome.error}`, outcome.description),
          `check client_id, client_secret and token_endpoint of the provider "${grant.provider}"`,
          begun,
        );
      case 'transient':
        noteFailure(opened, outcome.reason, begun);
        return outcome;
    }
  }

  async function ask(request: RefreshRequest): Promise<RefreshOutcome> {
    const timeout = new AbortController();
    const cancel = timers.after(requestMs, () => {
      timeout.abort(new DOMException('The token endpoint did not answer in time.', 'TimeoutError'));
    });
    try {
      return await parts.refresh(request, { signal: timeout.signal });
    } finally {
      cancel();
    }
  }

  /**
   * A crash after this costs nothing; had the access token been handed out before, a crash would leave a used refresh
   * token as the only one on disk.
   */
  async function commit(opened: OAuthGrant, tokens: NewTokens, begun: number): Promise<AttemptOutcome> {
    const committed = await commits.commit(opened, tokens);
    switch (committed.kind) {
      case 'stored':
        parts.audit.note(
          grantEvent(committed.opened.grant, {
            event: 'grant.refreshed',
            outcome: 'ok',
            duration_ms: now() - begun,
          }),
        );
        return { kind: 'renewed', opened: committed.opened };
      case 'overtaken':
        return { kind: 'settled' };
      case 'kept': {
        const reason = 'the provider gave new tokens, and the store did not take them yet';
        noteFailure(opened, reason, begun);
        return transient(reason);
      }
    }
  }

  function refuse(opened: OAuthGrant, reason: string, hint: string, begun: number): AttemptOutcome {
    noteFailure(opened, reason, begun);
    return { kind: 'refused', reason, hint, revision: opened.grant.revision };
  }

  function noteFailure({ grant }: OpenedGrant, reason: string, begun: number): void {
    parts.audit.note(
      grantEvent(grant, {
        event: 'grant.refresh_failed',
        outcome: 'failed',
        code: 'refresh_failed',
        reason,
        duration_ms: now() - begun,
      }),
    );
  }

  return {
    attempt,
    longestMs: lockMs,
    async flush() {
      for (const grantId of commits.waiting()) {
        try {
          if (!(await store.locks.acquire(lockOf(grantId), holder, lockMs))) continue;
          const opened = oauthGrant(await registry.read(grantId));
          const kept = opened === null ? null : commits.kept(grantId, opened.credential);
          if (opened !== null && kept !== null) await commit(opened, kept, now());
        } catch {
          // The store is not there; nothing more can be done, and closing must go on.
        } finally {
          await release(grantId);
        }
      }
    },
  };
}

function lockOf(grantId: string): string {
  return `refresh/${grantId}`;
}

function transient(reason: string): AttemptOutcome {
  return { kind: 'transient', reason, retryAfterMs: null };
}

function sentence(what: string, description: string): string {
  return description === '' ? what : `${what}: ${description}`;
}
