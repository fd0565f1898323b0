/**
 * Where a request gets its token from: memory, then the store, then the provider. The two clocks (a token is due, a
 * token has ended), one refresh at a time for each grant, and the way out of an upstream's 401.
 */
import { SidekeyError } from '../errors.ts';
import { secretText } from './credential.ts';
import type { Provider } from './provider.ts';
import { createRefreshAttempts, type AttemptOutcome, type RefreshParts } from './refresh-attempt.ts';
import { createRefreshBackoff } from './refresh-backoff.ts';
import { grantEvent } from './refresh-commit.ts';
import type { OpenedGrant } from './registry.ts';
import { pause, systemTimers, within, type Timers } from './timers.ts';
import { clockOf } from './token-clock.ts';
import {
  expiredToken,
  failedToken,
  standingOf,
  type ReadyToken,
  type TokenResult,
  type UnchangedToken,
} from './token-result.ts';

/** Tokens for requests. */
export interface TokenSource {
  /**
   * The token, where it is at hand: for the request path, some microseconds. Null: ask `tokenFor`. A token that is due
   * is answered too, and refreshed meanwhile. Throws what `Store.epoch` throws.
   */
  peek(grantId: string): ReadyToken | null;
  /**
   * The token, refreshed first where it has ended; waits no longer than `refresh_patience`. Rejects with the signal's
   * reason when that is aborted, which leaves the refresh and all others that wait for it alone, and with what store
   * and vault throw.
   */
  tokenFor(grantId: string, options?: WaitOptions): Promise<TokenResult>;
  /**
   * After an upstream answered 401 to this token: another one, or `unchanged`. Refreshes once where the stored token
   * is still the refused one, and not within 10 s of the last refresh: an upstream that refuses every token would
   * have them refreshed for ever. Rejects like `tokenFor`.
   */
  forceRefresh(refused: ReadyToken, options?: WaitOptions): Promise<TokenResult | UnchangedToken>;
  /** Starts no refresh any more, and waits (within limits) until those under way are committed. Idempotent. */
  close(): Promise<void>;
}

/** How long to wait besides `refresh_patience`: until the signal is aborted. */
export interface WaitOptions {
  readonly signal?: AbortSignal | undefined;
}

/** What a token source is made of. */
export interface TokenSourceParts extends Omit<RefreshParts, 'timers'> {
  /** By default those of the process. */
  readonly timers?: Timers;
  /** From 0 to 1, for the jitter of the back-off; by default `Math.random`. */
  readonly random?: () => number;
  /** Told of failures that no caller hears of. */
  readonly logger?: { warn(fields: object, message: string): void };
}

/** Between two forced refreshes of a grant, and after any refresh of it. */
const forcedEveryMs = 10_000;
/** How long a provider's refusal stands before it is asked again with the same configuration. */
const refusalMs = 30_000;
/** How long the background leaves a grant alone that another process is refreshing. */
const elsewhereMs = 250;
/** No way of things leads here; it keeps a disagreement between store and memory from spinning. */
const maxRounds = 200;

interface Refusal {
  readonly at: number;
  readonly revision: number;
  readonly provider: Provider | undefined;
  readonly reason: string;
  readonly hint: string;
}

/** Starts nothing by itself; `close` waits for the refreshes that requests have started. */
export function createTokenSource(options: TokenSourceParts): TokenSource {
  const { registry, now, skewMs, logger, timers = systemTimers } = options;
  const patienceMs = options.limits.refresh_patience;
  const attempts = createRefreshAttempts({ ...options, timers });
  const backoff = createRefreshBackoff(now, options.random ?? Math.random);
  const flights = new Map<string, Promise<AttemptOutcome>>();
  const refusals = new Map<string, Refusal>();
  const renewedAt = new Map<string, number>();
  const elsewhereAt = new Map<string, number>();
  const stopping = new AbortController();
  let closed: Promise<void> | null = null;

  /** Whether that was less than `ms` ago. What a clock that was set back makes the future, is long ago. */
  function isWithin(ms: number, at: number | undefined): boolean {
    return at !== undefined && now() >= at && now() - at < ms;
  }

  /** Joins the refresh that is under way, or starts one. It belongs to nobody: whoever waits may leave. */
  function flight(opened: OpenedGrant, unwanted: string | null, patient: boolean): Promise<AttemptOutcome> {
    const { id, provider } = opened.grant;
    const underWay = flights.get(id);
    if (underWay !== undefined) return underWay;
    const asked = options.providers(provider);
    const begun = attempts.attempt(id, { unwanted, patient, stopping: stopping.signal }).then((outcome) => {
      flights.delete(id);
      remember(id, outcome, asked);
      return outcome;
    });
    flights.set(id, begun);
    return begun;
  }

  function remember(id: string, outcome: AttemptOutcome, provider: Provider | undefined): void {
    switch (outcome.kind) {
      case 'renewed':
        backoff.succeeded(id);
        refusals.delete(id);
        renewedAt.set(id, now());
        return;
      case 'settled':
        backoff.succeeded(id);
        return;
      case 'elsewhere':
        elsewhereAt.set(id, now());
        return;
      case 'refused':
        refusals.set(id, { ...outcome, provider, at: now() });
        return;
      case 'transient':
        backoff.failed(id, outcome.reason, outcome.retryAfterMs);
        return;
      case 'fault':
        backoff.failed(id, 'the store or the vault failed', null);
        logger?.warn(
          { grant: id, err: outcome.error },
          'A token refresh failed before the provider was asked.',
        );
    }
  }

  /** What the provider said no to and would say no to again. */
  function refusalOf({ grant }: OpenedGrant): Refusal | null {
    const refusal = refusals.get(grant.id);
    if (refusal === undefined) return null;
    const stands =
      isWithin(refusalMs, refusal.at) &&
      refusal.revision === grant.revision &&
      refusal.provider === options.providers(grant.provider);
    if (!stands) refusals.delete(grant.id);
    return stands ? refusal : null;
  }

  function refreshInBackground(opened: OpenedGrant): void {
    const { id } = opened.grant;
    if (flights.has(id) || stopping.signal.aborted || isWithin(elsewhereMs, elsewhereAt.get(id))) return;
    if (backoff.wait(id, 'background') > 0 || refusalOf(opened) !== null) return;
    void flight(opened, null, false);
  }

  function peek(grantId: string): ReadyToken | null {
    const opened = registry.peek(grantId);
    if (opened === undefined || opened === null || opened.grant.state !== 'active') return null;
    const clock = clockOf(opened.sealed.credential, now(), skewMs);
    if (clock === 'ended' || clock === 'absent') return null;
    if (clock === 'due') refreshInBackground(opened);
    return ready(opened);
  }

  async function obtain(
    grantId: string,
    unwanted: string | null,
    signal: AbortSignal | undefined,
  ): Promise<TokenResult | UnchangedToken> {
    const deadline = now() + patienceMs;
    let last: OpenedGrant | null = null;
    for (let round = 0; round < maxRounds; round += 1) {
      signal?.throwIfAborted();
      const standing = standingOf(await registry.open(grantId), grantId, { now: now(), skewMs, unwanted });
      switch (standing.kind) {
        case 'refused':
        case 'unchanged':
          return standing;
        case 'usable':
          if (standing.due) refreshInBackground(standing.opened);
          return ready(await marked(standing.opened, 'active'));
        case 'ended':
          return expiredToken((await marked(standing.opened, 'expired')).grant);
        case 'needed':
          break;
      }
      const { opened } = standing;
      last = opened;
      const forced = unwanted !== null;
      const refusal = refusalOf(opened);
      if (refusal !== null) {
        return forced ? { kind: 'unchanged' } : failedToken(opened.grant, refusal.reason, refusal.hint);
      }
      if (stopping.signal.aborted) return failedToken(opened.grant, 'Sidekey is stopping');
      // Nothing is awaited from here to the start of the flight: of all that come at once, one starts it.
      if (!flights.has(grantId)) {
        if (forced && isWithin(forcedEveryMs, renewedAt.get(grantId))) return { kind: 'unchanged' };
        const wait = backoff.wait(grantId, 'request');
        if (wait > 0) {
          if (forced) return { kind: 'unchanged' };
          if (now() + wait >= deadline) {
            return failedToken(opened.grant, backoff.reason(grantId) ?? 'no answer came in time');
          }
          await pause(timers, wait, AbortSignal.any(signal ? [signal, stopping.signal] : [stopping.signal]));
          continue;
        }
        if (forced) renewedAt.set(grantId, now());
      }
      const left = deadline - now();
      if (left <= 0) return failedToken(opened.grant, backoff.reason(grantId) ?? 'no answer came in time');
      const outcome = await within(timers, flight(opened, unwanted, true), left, signal);
      if (outcome === 'late') return failedToken(opened.grant, 'the refresh is still under way');
      switch (outcome.kind) {
        case 'renewed':
          // What was just obtained is used, however short it lives.
          return ready(outcome.opened);
        case 'fault':
          throw outcome.error;
        case 'refused':
        case 'settled':
        case 'elsewhere':
        case 'transient':
          break;
      }
    }
    if (last === null || unwanted !== null) return { kind: 'unchanged' };
    return failedToken(last.grant, 'the store and the memory of this process do not agree');
  }

  /** Has the store say what the clock says, so that people see it too. Best effort: the clock decides. */
  async function marked(opened: OpenedGrant, state: 'active' | 'expired'): Promise<OpenedGrant> {
    const { grant, sealed } = opened;
    if (grant.state === state) return opened;
    const reason = state === 'expired' ? 'its token has ended, and there is no refresh token' : null;
    try {
      const changed = await registry.setState(grant, state, reason);
      if (changed === null) return opened;
      if (reason !== null) {
        options.audit.note(
          grantEvent(changed, {
            event: 'grant.expired',
            outcome: 'failed',
            code: 'grant_expired',
            reason,
          }),
        );
      }
      return { grant: changed, sealed };
    } catch (error) {
      logger?.warn({ grant: grant.id, err: error }, 'The state of a grant could not be stored.');
      return opened;
    }
  }

  async function close(): Promise<void> {
    stopping.abort();
    await within(timers, Promise.allSettled(flights.values()), attempts.longestMs);
    await attempts.flush();
  }

  return {
    peek,
    async tokenFor(grantId, { signal } = {}) {
      const known = peek(grantId);
      if (known !== null) return known;
      const result = await obtain(grantId, null, signal);
      if (result.kind === 'unchanged')
        throw new SidekeyError('internal', 'No token was refused, yet it was kept.');
      return result;
    },
    forceRefresh: ({ grant, sealed }, { signal } = {}) =>
      obtain(grant.id, secretText(sealed.credential), signal),
    close() {
      closed ??= close();
      return closed;
    },
  };
}

function ready({ grant, sealed }: OpenedGrant): ReadyToken {
  return { kind: 'ready', grant, sealed };
}
