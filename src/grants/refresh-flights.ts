/**
 * Refreshes of this process: one at a time per grant, with their last results, so that requests do not repeat
 * calls to a failing or refusing provider.
 */
import { SidekeyError } from '../lib/errors.ts';
import { secretText } from '../domain/credential.ts';
import type { Provider } from '../domain/provider.ts';
import { createRefreshAttempts, type AttemptOutcome, type RefreshParts } from './refresh.ts';
import { type OpenedGrant } from './registry.ts';
import { within } from '../lib/timers.ts';

interface RefreshFlights {
  isUnderWay(grantId: string): boolean;
  /**
   * Joins the refresh in progress, or starts one that waits for other processes. A caller that disconnects
   * does not cancel it. `unwanted`: a token that an upstream refused. Never rejects.
   */
  join(opened: OpenedGrant, unwanted: string | null): Promise<AttemptOutcome>;
  /** Starts a refresh in the background, unless a pause or a refusal forbids it. */
  begin(opened: OpenedGrant): void;
  /** See `TokenSource.refreshAhead`. */
  refreshAhead(grantId: string, when?: 'due' | 'even if fresh'): Promise<AheadOutcome>;
  /** Returns the provider's current refusal; null: none. */
  refusalOf(opened: OpenedGrant): Refusal | null;
  /** Milliseconds until a request may call the provider; 0: now. */
  wait(opened: OpenedGrant): number;
  /**
   * Returns why the last refresh failed, while attempts continue in the background. Null: there are none, and
   * a request may join or start a refresh.
   */
  failureOf(opened: OpenedGrant): RefreshFailure | null;
  /** Keeps retrying in the background while requests still fail for this grant. */
  keepTrying(opened: OpenedGrant): RefreshFailure;
  /**
   * Reports whether a forced refresh may start: not within 10 s of the last refresh, because an upstream that
   * refuses every token would cause endless refreshes.
   */
  mayForce(grantId: string): boolean;
  /** Notes the start of a forced refresh. */
  forced(grantId: string): void;
  /** Aborted once no further refresh starts. */
  readonly stopping: AbortSignal;
  /** Starts no further refresh, and waits (within limits) until those in progress are committed. */
  close(): Promise<void>;
}

/** Outcome of a background refresh. */
export type AheadOutcome =
  /** Refreshed, here or elsewhere, or the record has the reason why not. */
  | { readonly kind: 'done' }
  /** Try again after `ms` milliseconds. */
  | { readonly kind: 'later'; readonly ms: number }
  /** Refused by the provider until the configuration or the grant changes. */
  | { readonly kind: 'refused' };

/** Reason for a missing token, and the time of the next attempt. */
export interface RefreshFailure {
  readonly reason: string;
  /** Milliseconds until the next attempt; 0: in progress. */
  readonly retryAfterMs: number;
}

export const storeAway = 'the store cannot be reached';

function isStoreAway(error: unknown): boolean {
  return error instanceof SidekeyError && error.code === 'store_unavailable';
}

/** A permanent refusal by the provider. */
interface Refusal {
  readonly reason: string;
  readonly hint: string;
}

export interface RefreshFlightsParts extends RefreshParts {
  /** 0 to 1, for the jitter of the back-off. */
  readonly random: () => number;
  /** Logger for background refresh failures, which no request reports. */
  readonly logger?: { warn(fields: object, message: string): void } | undefined;
}

/** Milliseconds between two forced refreshes of a grant, and after any refresh of it. */
const forcedEveryMs = 10_000;
/** Milliseconds for which a refusal is remembered while the configuration is unchanged. */
const refusalMs = 30_000;
/** Pause of the background in milliseconds while another process refreshes the grant. */
const elsewhereMs = 250;

/** Milliseconds of background attempts after the last request that needed the token. */
const wantedMs = 300_000;

/** Background attempts for the record and the provider definition that failed. */
interface Retries {
  readonly revision: number;
  readonly provider: Provider | undefined;
  wantedAt: number;
  cancel: () => void;
}

interface RememberedRefusal extends Refusal {
  readonly at: number;
  readonly revision: number;
  readonly provider: Provider | undefined;
}

/** Constructing it has no side effects. */
export function createRefreshFlights(parts: RefreshFlightsParts): RefreshFlights {
  const { registry, providers, now, timers, logger } = parts;
  const attempts = createRefreshAttempts(parts);
  const backoff = createRefreshBackoff(now, parts.random);
  const underWay = new Map<string, Promise<AttemptOutcome>>();
  const refusals = new Map<string, RememberedRefusal>();
  const renewedAt = new Map<string, number>();
  const elsewhereAt = new Map<string, number>();
  /** Times at which the last attempts of this process ended. */
  const endedAt = new Map<string, number>();
  const retries = new Map<string, Retries>();
  const stopping = new AbortController();

  /**
   * Reports whether `at` was less than `ms` ago. A future time, from before the clock was set back, was not.
   */
  function isWithin(ms: number, at: number | undefined): boolean {
    return at !== undefined && now() >= at && now() - at < ms;
  }

  function fly(opened: OpenedGrant, unwanted: string | null, patient: boolean): Promise<AttemptOutcome> {
    const { id, provider } = opened.grant;
    const joined = underWay.get(id);
    if (joined !== undefined) return joined;
    const asked = providers(provider);
    // A second attempt of this process calls the provider itself.
    const isFirst = patient && unwanted === null && backoff.reason(id) === null;
    const adoptsSince = isFirst ? (endedAt.get(id) ?? 0) : undefined;
    const options = { unwanted, patient, adoptsSince, stopping: stopping.signal };
    const begun = attempts.attempt(id, options).then((outcome) => {
      underWay.delete(id);
      endedAt.set(id, now());
      remember(opened, outcome, asked);
      return outcome;
    });
    underWay.set(id, begun);
    return begun;
  }

  function remember(opened: OpenedGrant, outcome: AttemptOutcome, provider: Provider | undefined): void {
    const { id } = opened.grant;
    switch (outcome.kind) {
      case 'renewed':
        backoff.succeeded(placeOf(opened));
        refusals.delete(id);
        renewedAt.set(id, now());
        return;
      case 'settled':
        backoff.settled(id);
        return;
      case 'elsewhere':
        elsewhereAt.set(id, now());
        return;
      case 'refused':
        refusals.set(id, { ...outcome, provider, at: now() });
        return;
      case 'transient':
        backoff.failed(placeOf(opened), outcome.reason, outcome.retryAfterMs);
        return;
      case 'fault':
        backoff.failed(
          placeOf(opened),
          isStoreAway(outcome.error) ? storeAway : 'the store or the vault failed',
          null,
        );
        logger?.warn(
          { grant: id, err: outcome.error },
          'A token refresh failed before the provider was asked.',
        );
    }
  }

  function refusalOf({ grant }: OpenedGrant): Refusal | null {
    const refusal = refusals.get(grant.id);
    if (refusal === undefined) return null;
    const stands =
      isWithin(refusalMs, refusal.at) &&
      refusal.revision === grant.revision &&
      refusal.provider === providers(grant.provider);
    if (!stands) refusals.delete(grant.id);
    return stands ? refusal : null;
  }

  function retriesOf({ grant }: OpenedGrant): Retries | null {
    const known = retries.get(grant.id);
    if (known === undefined) return null;
    if (known.revision === grant.revision && known.provider === providers(grant.provider)) return known;
    endRetries(grant.id);
    return null;
  }

  function endRetries(grantId: string): void {
    retries.get(grantId)?.cancel();
    retries.delete(grantId);
  }

  function failure(opened: OpenedGrant): RefreshFailure {
    const { id } = opened.grant;
    return {
      reason: backoff.reason(id) ?? 'no answer came in time',
      retryAfterMs: underWay.has(id) ? 0 : backoff.wait(placeOf(opened), 'request'),
    };
  }

  /** Schedules the next attempt, and further ones while they fail. */
  function retryLater(opened: OpenedGrant, state: Retries, leastMs = 0): void {
    const { id } = opened.grant;
    const ms = Math.max(leastMs, backoff.wait(placeOf(opened), 'request'));
    state.cancel = timers.after(ms, () => {
      if (!isWithin(wantedMs, state.wantedAt)) {
        endRetries(id);
        return;
      }
      void fly(opened, null, false).then((outcome) => {
        // The retries have ended or restarted meanwhile.
        if (retries.get(id) !== state) return;
        const isOpen =
          outcome.kind === 'transient' || outcome.kind === 'fault' || outcome.kind === 'elsewhere';
        if (isOpen) retryLater(opened, state, elsewhereMs);
        else endRetries(id);
      });
    });
  }

  return {
    isUnderWay: (grantId) => underWay.has(grantId),
    join: (opened, unwanted) => fly(opened, unwanted, true),
    begin(opened) {
      const { id } = opened.grant;
      if (underWay.has(id) || stopping.signal.aborted || isWithin(elsewhereMs, elsewhereAt.get(id))) return;
      if (backoff.wait(placeOf(opened), 'background') > 0 || refusalOf(opened) !== null) return;
      void fly(opened, null, false);
    },
    async refreshAhead(grantId, when = 'due') {
      const opened = await registry.open(grantId);
      if (opened === null || stopping.signal.aborted) return { kind: 'done' };
      if (refusalOf(opened) !== null) return { kind: 'refused' };
      const wait = backoff.wait(placeOf(opened), 'background');
      if (wait > 0) return { kind: 'later', ms: wait };
      const unwanted = when === 'due' ? null : secretText(opened.sealed.credential);
      const outcome = await fly(opened, unwanted, false);
      switch (outcome.kind) {
        case 'renewed':
        case 'settled':
          return { kind: 'done' };
        case 'refused':
          return { kind: 'refused' };
        case 'elsewhere':
          return { kind: 'later', ms: 2 * elsewhereMs };
        case 'transient':
        case 'fault':
          return { kind: 'later', ms: backoff.wait(placeOf(opened), 'background') };
      }
    },
    refusalOf,
    wait: (opened) => backoff.wait(placeOf(opened), 'request'),
    failureOf: (opened) => (retriesOf(opened) === null ? null : failure(opened)),
    keepTrying(opened) {
      const { id, revision, provider } = opened.grant;
      const known = retriesOf(opened);
      if (known !== null) known.wantedAt = now();
      else if (!stopping.signal.aborted) {
        const state: Retries = {
          revision,
          provider: providers(provider),
          wantedAt: now(),
          cancel: () => undefined,
        };
        retries.set(id, state);
        retryLater(opened, state);
      }
      return failure(opened);
    },
    mayForce: (grantId) => !isWithin(forcedEveryMs, renewedAt.get(grantId)),
    forced(grantId) {
      renewedAt.set(grantId, now());
    },
    stopping: stopping.signal,
    async close() {
      stopping.abort();
      for (const grantId of retries.keys()) endRetries(grantId);
      await within(timers, Promise.allSettled(underWay.values()), attempts.maxMs);
      await attempts.flush();
    },
  };
}

/**
 * Back-off after failed refreshes, per grant and shared by all waiting requests, so that a thousand of them
 * call a failing provider as rarely as one. Also per token endpoint: if it fails for one grant, background
 * refreshes of its other grants pause.
 */

interface RefreshBackoff {
  /** Notes a failure. `retryAfterMs`: delay from the provider, which overrides ours if longer. */
  failed(at: RefreshPlace, reason: string, retryAfterMs: number | null): void;
  succeeded(at: RefreshPlace): void;
  /** Ends the pause of a grant, but not of its endpoint. */
  settled(grantId: string): void;
  /**
   * Milliseconds until the next attempt; 0: now. Waiting requests retry sooner than the background, and
   * ignore failures of other grants.
   */
  wait(at: RefreshPlace, who: 'request' | 'background'): number;
  /** Returns why the last attempt failed; null: it did not. */
  reason(grantId: string): string | null;
}

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
  const own = credential.type === 'oauth2' ? credential.tokenEndpoint : null;
  return { grantId: grant.id, endpoint: own ?? grant.provider };
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

  function left(failure: Failure | undefined, { first, max }: { first: number; max: number }): number {
    if (failure === undefined) return 0;
    const own = Math.min(first * 2 ** (failure.count - 1), max) * failure.jitter;
    // A clock that was set back must not extend the wait.
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
