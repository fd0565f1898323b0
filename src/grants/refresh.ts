/**
 * One attempt to refresh a grant: take the lock of all processes, read the grant again, call the provider,
 * commit, release the lock. A rotated refresh token must never be lost or used twice.
 */
import type { AuditEvent } from '../domain/event.ts';
import { SidekeyError } from '../lib/errors.ts';
import type { Hint } from '../lib/hint.ts';
import type { Timers } from '../lib/timers.ts';
import { withDescription } from './oauth/description.ts';
import type { RenewalRequest } from './oauth/renewal.ts';
import type { RefreshOutcome } from './oauth/refresh.ts';
import { scopesIn, ungrantedScopes } from './oauth/scopes.ts';
import type { LockedGrant, Store } from '../store/store.ts';
import { type ActivityNotes, createRefreshNotes } from './activity.ts';
import { jwtExpiry } from './token-expiry.ts';
import {
  boundBy,
  clockOf,
  type DpopKey,
  isRefreshable,
  type OAuth2Credential,
  type OpenedGrant,
} from '../domain/credential.ts';
import { movedRemedy, newClientRemedy, reauthReason, refusalReason, whatToCheck } from './messages.ts';
import type { Provider } from '../domain/provider.ts';
import { createRefreshCommits, type NewTokens, oauthGrant, type OAuthGrant } from './refresh-commit.ts';
import { createRefreshLock, heldUp, type LockedIo, type RefreshLimits } from './refresh-lock.ts';
import { type PlanParts, planRefresh, type RefreshPlan } from './refresh-plan.ts';
import type { Registry } from './registry.ts';
import { replaceRemedy } from './token-result.ts';

export interface RefreshParts {
  readonly registry: Registry;
  readonly store: Store;
  readonly providers: (name: string) => Provider | undefined;
  /** `renew` of `grants/oauth/renewal.ts`, bound to its fetch. */
  readonly refresh: (
    request: RenewalRequest,
    io: LockedIo & { readonly proofKey: DpopKey | null },
  ) => Promise<RefreshOutcome>;
  readonly readSecret: PlanParts['readSecret'];
  readonly now: () => number;
  readonly skewMs: number;
  readonly limits: RefreshLimits;
  readonly audit: { note(event: AuditEvent): void };
  /** Records the results of refreshes, for people. */
  readonly activity: Pick<ActivityNotes, 'refreshed' | 'failed'>;
  readonly timers: Timers;
}

interface AttemptOptions {
  /** Token that an upstream refused. It counts as ended before its expiry. */
  readonly unwanted: string | null;
  /** True: waits while another process holds the lock. */
  readonly patient: boolean;
  /** A failure of another process after this time counts as this attempt's; absent: none does. */
  readonly adoptsSince?: number | undefined;
  /** Remaining scopes for the new token and later ones; absent: unchanged. */
  readonly narrowTo?: readonly string[] | undefined;
  /** Aborted when the process stops. Waits end, but a call to the provider finishes. */
  readonly stopping: AbortSignal;
}

export type AttemptOutcome =
  /** The new token is in the store. Null: the record has changed, and is to be read again. */
  | { readonly kind: 'renewed'; readonly opened: OpenedGrant | null }
  | {
      readonly kind: 'later';
      /** Null: another process is refreshing, and this attempt does not wait. */
      readonly reason: string | null;
      /** Milliseconds, from the provider; null: it named none. */
      readonly retryAfterMs: number | null;
      /** Error of the store or the vault. */
      readonly fault?: unknown;
      /** Outcome of the request that goes on. No other may be sent before; absent: none is in flight. */
      readonly rest?: Promise<AttemptOutcome>;
    }
  /** Permanent until the configuration or the grant changes. */
  | { readonly kind: 'refused'; readonly reason: string; readonly hint: Hint; readonly revision: number };

/** Reason for a refresh that is put off while the store is away. */
export const storeAway = 'the store cannot be reached';

/** Reason for a refresh that goes on after `refresh_timeout`. */
const unanswered = 'the token endpoint did not answer in time';

/** The record has changed: nothing is left to do. */
const settled = { kind: 'renewed', opened: null } as const;

/** Attempts of this process, as one holder of the locks. */
interface RefreshAttempts {
  /**
   * Never rejects. Callers make one attempt at a time per grant, and wait for its `rest`: after
   * `refresh_timeout` the attempt is `later`, while a refresh token that was sent may have been used up.
   */
  attempt(grantId: string, options: AttemptOptions): Promise<AttemptOutcome>;
  /** Retries to store the tokens that the store refused. Never rejects. */
  flush(): Promise<void>;
  /** Aborts the requests in flight. Their answers are lost. */
  abandon(): void;
  readonly stopMs: { readonly answer: number; readonly commit: number };
}

/** Milliseconds for which a failure of another process counts: a time-out and pauses. */
const othersFailureMs = 20_000;

/** Each call creates a holder of locks: one per process. */
export function createRefreshAttempts(parts: RefreshParts): RefreshAttempts {
  const { registry, store, now, timers } = parts;
  const lock = createRefreshLock(parts);
  const commits = createRefreshCommits(registry, timers, lock, parts.skewMs);
  const notes = createRefreshNotes(parts);

  /** Returns the grant if it needs a refresh. Null: already refreshed, or not allowed. */
  function unfinished(opened: OpenedGrant | null, unwanted: string | null): OAuthGrant | null {
    const grant = oauthGrant(opened);
    if (grant === null || !isRefreshable(grant.credential)) return null;
    if (commits.kept(grant.grant.id, grant.credential) !== null) return grant;
    const fresh = clockOf(grant.credential, now(), parts.skewMs) === 'fresh';
    return fresh && grant.credential.accessToken !== unwanted ? null : grant;
  }

  /** Returns why the last refresh of any process failed, if that was after `since`. */
  function failureSince(
    { failedAt, refreshedAt, failure }: LockedGrant['activity'],
    since: number,
  ): string | null {
    if (failedAt === null || failedAt <= Math.max(since, refreshedAt ?? 0) || failedAt > now()) return null;
    return failure;
  }

  function attempt(grantId: string, options: AttemptOptions): Promise<AttemptOutcome> {
    const { promise: overdue, resolve } = Promise.withResolvers<AttemptOutcome>();
    const whole = attemptToEnd(grantId, options, () => resolve({ ...later(unanswered), rest: whole }));
    return Promise.race([whole, overdue]);
  }

  async function attemptToEnd(
    grantId: string,
    options: AttemptOptions,
    overdue: () => void,
  ): Promise<AttemptOutcome> {
    try {
      const { narrowTo } = options;
      const seen = unfinished(await registry.open(grantId), options.unwanted);
      if (seen === null) return settled;
      // Before the lock: a secret may come from a slow command.
      const plan = await planFor(seen, narrowTo);
      const begun = now();
      const { adoptsSince = begun } = options;
      const since = Math.max(adoptsSince, begun - othersFailureMs);
      const locked = await takeLock(grantId, since, options);
      if ('kind' in locked) return locked;
      try {
        const opened = unfinished(await registry.openRecord(locked.record), options.unwanted);
        if (opened === null) {
          commits.forget(grantId);
          return settled;
        }
        // The previous holder of the lock may just have failed.
        const failure = failureSince(locked.activity, since);
        if (failure !== null) return later(failure);
        const current = (await stillHolds(plan, seen, opened)) ? plan : await planFor(opened, narrowTo);
        return await refreshOnce(opened, current, { narrowTo, overdue });
      } finally {
        await lock.release(grantId);
      }
    } catch (error) {
      const isAway = error instanceof SidekeyError && error.code === 'store_unavailable';
      return { ...later(isAway ? storeAway : 'the store or the vault failed'), fault: error };
    }
  }

  function planFor({ grant, credential }: OAuthGrant, narrowTo?: readonly string[]): Promise<RefreshPlan> {
    const { provider, scopes } = grant;
    const asked =
      narrowTo === undefined
        ? { scopes, credential }
        : { scopes: narrowTo, credential: { ...credential, isNarrowed: true } };
    return planRefresh({ provider, ...asked }, parts);
  }

  /** Reports whether the grant and its login are unchanged since the plan was made. */
  async function stillHolds(plan: RefreshPlan, seen: OAuthGrant, current: OAuthGrant): Promise<boolean> {
    if (current.grant.revision !== seen.grant.revision) return false;
    if (plan.kind === 'impossible' || plan.login === null) return true;
    const { id, revision } = plan.login.grant;
    return (await registry.read(id))?.grant.revision === revision;
  }

  async function takeLock(
    grantId: string,
    since: number,
    { patient, stopping, unwanted }: AttemptOptions,
  ): Promise<LockedGrant | AttemptOutcome> {
    let failure: string | null = null;
    const isMoot = async () => {
      if (unfinished(await registry.open(grantId), unwanted) === null) return true;
      // The holder may keep the lock after a failure, for a late answer.
      const activity = await store.activity.get(grantId);
      failure = activity && failureSince(activity, since);
      return failure !== null;
    };
    const taken = await lock.take(grantId, { patient, signal: stopping, isMoot });
    switch (taken) {
      case 'busy':
        return later(null);
      case 'moot':
        return failure === null ? settled : later(failure);
      case 'late':
        return later('another process has been refreshing this grant for too long');
      case 'aborted':
        return later('Sidekey is stopping');
      default:
        return taken;
    }
  }

  async function refreshOnce(
    opened: OAuthGrant,
    plan: RefreshPlan,
    { narrowTo, overdue }: Pick<AttemptOptions, 'narrowTo'> & { readonly overdue: () => void },
  ): Promise<AttemptOutcome> {
    const { grant, credential } = opened;
    const begun = now();
    const unstored = commits.kept(grant.id, credential);
    if (unstored !== null) {
      const committed = await commit(opened, unstored, begun);
      // The access token may have expired while the store was away, so the clock is checked again.
      return committed.kind === 'renewed' ? settled : committed;
    }
    if (plan.kind === 'impossible') return refuse(opened, plan.reason, plan.hint, begun);
    const { request, proofKey } = plan;
    const noted = () => void notes.failed(grant, begun, unanswered).then(overdue, overdue);
    const outcome = await lock.ask(
      grant.id,
      (io) => parts.refresh(request, { ...io, proofKey }),
      // Without a refresh token, nothing is lost, and another request may be answered sooner.
      'refreshToken' in request ? noted : null,
    );
    if (outcome === null) return later(heldUp);
    switch (outcome.kind) {
      case 'renewed': {
        const next = {
          ...withNewTokens(credential, outcome),
          // Only if the provider confirms it: some ignore the parameter.
          ...(narrowTo && isWithin(scopesIn(outcome.scope), narrowTo) ? { isNarrowed: true } : {}),
        };
        const bound = boundBy(next, plan.proofKey, outcome.isBound === true);
        return commit(opened, { usedRefreshToken: credential.refreshToken, next: bound }, begun);
      }
      case 'later':
        await notes.failed(grant, begun, outcome.reason);
        return outcome;
      case 'refused':
        break;
    }
    switch (outcome.ends) {
      case 'grant':
        await requireReauth(opened, withDescription(reauthReason(plan.request), outcome.description), begun);
        return settled;
      case 'login': {
        const reason = withDescription('the login that it lives on has ended', outcome.description);
        if (plan.login === null) return refuse(opened, reason, 'log in again', begun);
        // The account is still connected: the next login can obtain its token again.
        const { grant: login } = plan.login;
        const loginReason = withDescription('its refresh token was refused', outcome.description);
        await requireReauth(plan.login, loginReason, begun);
        return refuse(opened, reason, replaceRemedy(login, [], parts.providers(login.provider)), begun);
      }
      case undefined: {
        const { error, description, unusable } = outcome;
        const after = await keepRefreshToken(opened, outcome, plan.proofKey);
        if (after === null) return settled;
        const reason = unusable === undefined ? refusalReason(request, { error, description }) : description;
        const definition = parts.providers(grant.provider);
        const hint =
          error === 'endpoint_moved'
            ? movedRemedy(opened, definition, outcome.movedTo)
            : (newClientRemedy(grant, credential, definition, { reason, now: begun }) ??
              whatToCheck(request, grant.provider, outcome));
        // A refusal of fewer scopes is not a failure of the grant.
        if (narrowTo !== undefined) return { kind: 'refused', reason, hint, revision: after.grant.revision };
        return refuse(after, reason, hint, begun);
      }
    }
  }

  /**
   * Stores the new refresh token of a response whose access token cannot be used. The old access token stays.
   * Returns the grant. Null: it has changed meanwhile.
   */
  async function keepRefreshToken(
    opened: OAuthGrant,
    { unusable, needs }: Extract<RefreshOutcome, { readonly ends?: undefined; readonly error: string }>,
    proofKey: DpopKey | null,
  ): Promise<OpenedGrant | null> {
    const refreshToken = unusable?.refreshToken ?? null;
    if (refreshToken === null) return opened;
    const { credential } = opened;
    // The refresh token may be bound to the key of the request (RFC 9449 §5).
    const next = boundBy(
      { ...learned(credential, needs), refreshToken },
      proofKey,
      credential.dpop?.isBound === true,
    );
    const committed = await commits.commit(
      opened,
      { usedRefreshToken: credential.refreshToken, next },
      false,
    );
    return committed === 'kept' ? opened : committed;
  }

  /** Stores tokens before their use, or a crash could leave only a used refresh token on disk. */
  async function commit(opened: OAuthGrant, tokens: NewTokens, begun: number): Promise<AttemptOutcome> {
    const committed = await commits.commit(opened, tokens, true);
    if (committed === 'kept') {
      const reason = 'the provider gave new tokens, and the store did not take them yet';
      await notes.failed(opened.grant, begun, reason);
      return later(reason);
    }
    if (committed === null) return settled;
    const { isNoted, ...renewed } = committed;
    void notes.refreshed(renewed.grant, begun, { isNoted });
    return { kind: 'renewed', opened: renewed };
  }

  /** Ends refreshes until a person consents again. The audit log records it once. */
  async function requireReauth(used: OAuthGrant, reason: string, begun: number): Promise<void> {
    const changed = await commits.requireReauth(used, reason);
    if (changed !== null) await notes.reauthRequired(changed, begun, reason);
  }

  async function refuse(
    opened: OpenedGrant,
    reason: string,
    hint: Hint,
    begun: number,
  ): Promise<AttemptOutcome> {
    await notes.failed(opened.grant, begun, reason);
    return { kind: 'refused', reason, hint, revision: opened.grant.revision };
  }

  return {
    attempt,
    abandon: () => lock.abandon(),
    stopMs: lock.stopMs,
    async flush() {
      for (const grantId of commits.waiting()) {
        try {
          const locked = await lock.take(grantId, { patient: false });
          if (typeof locked === 'string') continue;
          const opened = oauthGrant(await registry.openRecord(locked.record));
          const unstored = opened === null ? null : commits.kept(grantId, opened.credential);
          if (opened !== null && unstored !== null) await commit(opened, unstored, now());
        } catch {
          // The store is away. Closing must continue.
        } finally {
          await lock.release(grantId);
        }
      }
    },
  };
}

/** Returns the credential with the tokens of a response. Members that the response lacks are unchanged. */
export function withNewTokens(
  credential: OAuth2Credential,
  outcome: Extract<RefreshOutcome, { kind: 'renewed' }>,
): OAuth2Credential {
  return {
    ...learned(credential, outcome.needs),
    accessToken: outcome.accessToken,
    refreshToken: outcome.refreshToken ?? credential.refreshToken,
    expiresAt: outcome.expiresAt ?? jwtExpiry(outcome.accessToken),
    obtainedAt: outcome.obtainedAt,
    scope: outcome.scope ?? credential.scope,
  };
}

/** Returns the credential with the parameters that a provider required; undefined: unchanged. */
export function learned(
  credential: OAuth2Credential,
  refreshNeeds: OAuth2Credential['refreshNeeds'],
): OAuth2Credential {
  return refreshNeeds === undefined ? credential : { ...credential, refreshNeeds };
}

/** Reports whether the provider stated scopes, and only scopes of `limit`. */
export function isWithin(scopes: readonly string[] | null, limit: readonly string[]): boolean {
  return scopes !== null && ungrantedScopes(scopes, limit).length === 0;
}

function later(reason: string | null): Extract<AttemptOutcome, { kind: 'later' }> {
  return { kind: 'later', reason, retryAfterMs: null };
}
