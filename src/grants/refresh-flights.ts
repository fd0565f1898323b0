/**
 * The refreshes of this process: one at a time for each grant; and their last results, so that a provider that fails or
 * refuses is not called again by every request.
 */
import { SidekeyError } from '../lib/errors.ts';
import { secretText } from '../domain/credential.ts';
import type { Provider } from '../domain/provider.ts';
import { createRefreshAttempts, type AttemptOutcome, type RefreshParts } from './refresh.ts';
import { type OpenedGrant } from './registry.ts';
import { within } from '../lib/timers.ts';

/** The refreshes of one process. */
interface RefreshFlights {
  isUnderWay(grantId: string): boolean;
  /**
   * Joins the refresh that is under way, or starts one that waits where another process is at it. It belongs to nobody:
   * a waiting caller may leave. `unwanted`: a token that an upstream refused. Never rejects.
   */
  join(opened: OpenedGrant, unwanted: string | null): Promise<AttemptOutcome>;
  /** Starts one that nobody waits for, where it may do something now. */
  begin(opened: OpenedGrant): void;
  /** See `TokenSource.refreshAhead`. */
  refreshAhead(grantId: string, when?: 'due' | 'even if fresh'): Promise<AheadOutcome>;
  /** Returns the provider's refusal that still stands; null: there is none. */
  refusalOf(opened: OpenedGrant): Refusal | null;
  /** Milliseconds until a request may have the provider asked again; 0: now. */
  wait(opened: OpenedGrant): number;
  /**
   * Returns why the last refresh failed, where attempts continue in the background until one succeeds; null: there are none, and a
   * request may join or start a refresh.
   */
  failureOf(opened: OpenedGrant): RefreshFailure | null;
  /** A request was refused for a refresh that failed: attempts continue in the background for as long as any is. */
  keepTrying(opened: OpenedGrant): RefreshFailure;
  /**
   * Returns whether a forced refresh may begin: not within 10 s of the last refresh, because an upstream that refuses
   * every token
   * would have them refreshed for ever.
   */
  mayForce(grantId: string): boolean;
  /** A forced refresh begins now. */
  forced(grantId: string): void;
  /** Aborted when no further refresh starts. */
  readonly stopping: AbortSignal;
  /** Starts no further refresh, and waits (within limits) until those in progress are committed. */
  close(): Promise<void>;
}

/** The outcome of a refresh that nobody waits for. */
export type AheadOutcome =
  /** Nothing is left to do: it was refreshed, here or elsewhere, or its record says why not. */
  | { readonly kind: 'done' }
  /** Not now: leave it alone for so many milliseconds. */
  | { readonly kind: 'later'; readonly ms: number }
  /** The provider refuses, until the configuration or the grant changes. */
  | { readonly kind: 'refused' };

/** Reason why there is no token now, and when there may be one. */
export interface RefreshFailure {
  readonly reason: string;
  /** Milliseconds until the next attempt; 0: it is under way. */
  readonly retryAfterMs: number;
}

/** Reason of a failure for want of the store. */
export const storeAway = 'the store cannot be reached';

function isStoreAway(error: unknown): boolean {
  return error instanceof SidekeyError && error.code === 'store_unavailable';
}

/** A provider's no. */
interface Refusal {
  readonly reason: string;
  readonly hint: string;
}

/** The parts that refreshes need. */
export interface RefreshFlightsParts extends RefreshParts {
  /** From 0 to 1, for the jitter of the back-off. */
  readonly random: () => number;
  /** Told of failures that no caller hears of. */
  readonly logger?: { warn(fields: object, message: string): void } | undefined;
}

/** Between two forced refreshes of a grant, and after any refresh of it. */
const forcedEveryMs = 10_000;
/** The time for which a provider's refusal stands before it is asked again with the same configuration. */
const refusalMs = 30_000;
/** The pause of the background for a grant that another process is refreshing. */
const elsewhereMs = 250;

/** The time for which background attempts continue after the last request that needed the token. */
const wantedMs = 300_000;

/** Attempts that continue in the background, for the record and the provider definition that failed. */
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

/** Starts nothing by itself. */
export function createRefreshFlights(parts: RefreshFlightsParts): RefreshFlights {
  const { registry, providers, now, timers, logger } = parts;
  const attempts = createRefreshAttempts(parts);
  const backoff = createRefreshBackoff(now, parts.random);
  const underWay = new Map<string, Promise<AttemptOutcome>>();
  const refusals = new Map<string, RememberedRefusal>();
  const renewedAt = new Map<string, number>();
  const elsewhereAt = new Map<string, number>();
  /** The time at which the last attempt of this process ended. */
  const endedAt = new Map<string, number>();
  const retries = new Map<string, Retries>();
  const stopping = new AbortController();

  /**
   * Returns whether that was less than `ms` ago. A time in the future, after the clock was set back, counts as long
   * ago.
   */
  function isWithin(ms: number, at: number | undefined): boolean {
    return at !== undefined && now() >= at && now() - at < ms;
  }

  function fly(opened: OpenedGrant, unwanted: string | null, patient: boolean): Promise<AttemptOutcome> {
    const { id, provider } = opened.grant;
    const joined = underWay.get(id);
    if (joined !== undefined) return joined;
    const asked = providers(provider);
    // A second attempt of this process asks the provider itself.
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

  /** The next attempt, and those after it until one does more than fail. */
  function retryLater(opened: OpenedGrant, state: Retries, leastMs = 0): void {
    const { id } = opened.grant;
    const ms = Math.max(leastMs, backoff.wait(placeOf(opened), 'request'));
    state.cancel = timers.after(ms, () => {
      if (!isWithin(wantedMs, state.wantedAt)) {
        endRetries(id);
        return;
      }
      void fly(opened, null, false).then((outcome) => {
        // Ended, or begun anew, meanwhile.
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
 * The back-off after a failed refresh: one memory for each grant, shared by all that wait, so
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
  /** Returns why the last try failed; null: none did. */
  reason(grantId: string): string | null;
}

/** The grant of a refresh, and the endpoint that is asked. */
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
  /** The delay that the provider asked for, in milliseconds. */
  readonly askedMs: number;
  readonly reason: string;
}

const steps = {
  request: { first: 250, max: 8_000 },
  background: { first: 1_000, max: 900_000 },
  // One grant that its provider cannot serve must not hold the others for long.
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
    // A clock that was set back must not make the wait longer.
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
