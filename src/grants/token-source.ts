/**
 * Tokens for requests: from memory, the store, or the provider. Handles due and expired tokens, and the retry
 * after an upstream's 401.
 */
import { SidekeyError } from '../lib/errors.ts';
import { pause, systemTimers, type Timers, within } from '../lib/timers.ts';
import type { Authority } from '../proxy/policy/authority.ts';
import { checkAudience } from '../proxy/schemes/apply.ts';
import { type ActivityNotes, grantEvent } from './activity.ts';
import { clockOf, secretText, type OpenedGrant } from '../domain/credential.ts';
import type { Grant } from '../domain/grant.ts';
import { RefreshFlights, type RefreshFailure, type RefreshFlightsParts } from './refresh-flights.ts';
import { storeAway } from './refresh.ts';
import { createSourceValues, type SourceValuesParts } from './source-values.ts';
import {
  audienceRemedy,
  endWords,
  expiredToken,
  failedToken,
  type ReadyToken,
  type RefusedToken,
  standingOf,
  type TokenResult,
  type UnchangedToken,
} from './token-result.ts';

/** Tokens for requests. */
export type TokenSource = ReturnType<typeof createTokenSource>;

/** Additional end of a wait, besides `refresh_wait`. */
interface WaitOptions {
  readonly signal?: AbortSignal | undefined;
}

export interface TokenSourceParts extends Omit<RefreshFlightsParts, 'timers' | 'activity' | 'random'> {
  /** Records uses of credentials and results of refreshes. */
  readonly activity: Pick<ActivityNotes, 'used' | 'refreshed' | 'failed'>;
  /** Default: timers of the process. */
  readonly timers?: Timers;
  /** 0 to 1, for the jitter of the back-off. Default: `Math.random`. */
  readonly random?: () => number;
  readonly sources: SourceValuesParts['sources'];
}

/** Milliseconds for which callers wait for further attempts: one failure is not an outage. */
const graceMs = 2_000;
/** Never reached, unless the store and memory disagree. Prevents an endless loop. */
const maxRounds = 200;

/** Constructing it has no side effects; `close` waits for refreshes that requests have started. */
export function createTokenSource(options: TokenSourceParts) {
  const { registry, now, skewMs, logger, timers = systemTimers, random = Math.random } = options;
  const patienceMs = options.limits.refresh_wait;
  const flights = new RefreshFlights({ ...options, timers, random });
  const values = createSourceValues({ ...options, timers, random });
  let closed: Promise<void> | null = null;

  /**
   * Returns a cached token within microseconds, for the request path. Null: call `tokenFor`. A due token is
   * returned too, and refreshed in the background. Throws errors of `Store.epoch`.
   */
  function peek(grantId: string): ReadyToken | null {
    const opened = registry.peek(grantId);
    if (opened === undefined || opened === null || opened.grant.state !== 'active') return null;
    if (opened.sealed.credential.type === 'source') {
      const value = values.peek(opened);
      return value && noted(value);
    }
    const clock = clockOf(opened.sealed.credential, now(), skewMs);
    if (clock === 'ended' || clock === 'absent') return null;
    if (clock === 'due') flights.begin(opened);
    return noted(ready(opened));
  }

  async function obtain(
    grantId: string,
    unwanted: string | null,
    signal: AbortSignal | undefined,
    destination?: Authority,
  ): Promise<TokenResult | UnchangedToken> {
    const deadline = now() + patienceMs;
    const graceEnd = Math.min(deadline, now() + graceMs);
    /** True after a failed attempt. A caller that arrives after a failure does not wait. */
    let waited = false;
    let last: OpenedGrant | null = null;
    for (let round = 0; round < maxRounds; round += 1) {
      signal?.throwIfAborted();
      const standing = standingOf(
        await registry.open(grantId),
        grantId,
        { now: now(), skewMs, unwanted },
        options.providers,
      );
      switch (standing.kind) {
        case 'refused':
        case 'unchanged':
          return standing;
        case 'usable':
          if (standing.due) flights.begin(standing.opened);
          return ready(await marked(standing.opened, 'active'));
        case 'ended':
          return ended((await marked(standing.opened, 'expired')).grant);
        case 'needed':
          break;
      }
      const { opened } = standing;
      const { grant, sealed } = opened;
      if (destination !== undefined)
        checkAudience(opened.sealed, destination, (host) =>
          audienceRemedy(grant, sealed, host, options.providers(grant.provider)),
        );
      last = opened;
      const forced = unwanted !== null;
      const refusal = flights.refusalOf(opened);
      if (refusal !== null)
        return forced ? { kind: 'unchanged' } : failedToken(opened.grant, refusal.reason, refusal.hint);
      if (flights.stopping.aborted) return failedToken(opened.grant, 'Sidekey is stopping');
      if (opened.sealed.credential.type === 'source') {
        const result = await values.obtain(opened, unwanted, signal);
        // The grant may have been revoked or changed while its source was read.
        if ((await registry.open(grantId))?.grant.revision === opened.grant.revision) return result;
        continue;
      }
      const failure = flights.failureOf(opened);
      if (failure !== null) {
        if (forced) return { kind: 'unchanged' };
        const { retryAfterMs } = flights.keepTrying(opened);
        if (!waited || now() + retryAfterMs >= graceEnd) return notNow(opened, failure);
        if (retryAfterMs > 0) {
          const signals = signal ? [signal, flights.stopping] : [flights.stopping];
          await pause(timers, retryAfterMs, AbortSignal.any(signals));
          continue;
        }
      } else if (!flights.isUnderWay(grantId)) {
        // No await from here to the start of the refresh, so that only one of concurrent callers starts it.
        if (forced && !flights.mayForce(grantId)) return { kind: 'unchanged' };
        if (flights.wait(opened) > 0)
          return forced ? { kind: 'unchanged' } : notNow(opened, flights.keepTrying(opened));
        if (forced) flights.forced(opened);
      }
      const left = (failure === null ? deadline : graceEnd) - now();
      const outcome = left > 0 ? await within(timers, flights.join(opened, unwanted), left, signal) : 'late';
      if (outcome === 'late') {
        if (forced) return { kind: 'unchanged' };
        const { retryAfterMs } = flights.keepTrying(opened);
        return notNow(opened, { reason: 'the refresh is still under way', retryAfterMs });
      }
      switch (outcome.kind) {
        case 'renewed':
          // A new token is used even if its lifetime is very short.
          if (outcome.opened !== null) return ready(outcome.opened);
          break;
        case 'later':
          if (outcome.fault !== undefined) throw outcome.fault;
          if (outcome.reason === null) break;
          waited = true;
          if (!forced) flights.keepTrying(opened);
          break;
        case 'refused':
          break;
      }
    }
    if (last === null || unwanted !== null) return { kind: 'unchanged' };
    return failedToken(last.grant, 'the store and the memory of this process do not agree');
  }

  /** Stores the state by the clock, for people. Best effort: only the clock decides. */
  async function marked(opened: OpenedGrant, state: 'active' | 'expired'): Promise<OpenedGrant> {
    const { grant, sealed } = opened;
    if (grant.state === state) return opened;
    const reason = state === 'expired' ? endWords(grant) : null;
    try {
      const changed = await registry.setState(grant, state, reason);
      if (changed === null) return opened;
      if (reason !== null) {
        options.audit.note(
          grantEvent(changed, { event: 'grant.expired', outcome: 'failed', code: 'grant_expired', reason }),
        );
      }
      return { grant: changed, sealed };
    } catch (error) {
      logger?.warn({ grant: grant.id, err: error }, 'The state of a grant could not be stored.');
      return opened;
    }
  }

  /** Notes the use of a token. */
  function noted<T extends TokenResult | UnchangedToken>(result: T): T {
    if (result.kind === 'ready') options.activity.used(result.grant.id);
    return result;
  }

  function ended(grant: Grant): RefusedToken {
    return expiredToken(grant, options.providers(grant.provider));
  }

  return {
    peek,
    /**
     * Returns the token, refreshed first if it has expired. Waits at most `refresh_wait`. While the provider
     * fails, returns at once: attempts continue in the background, and `retryAfterMs` is the time until the
     * next. Rejects with the signal's reason, which does not affect the refresh or its other callers; with
     * errors of the store and the vault; and with `policy_violation` if a provider or source would be called
     * for a destination outside of the audience.
     */
    async tokenFor(
      grantId: string,
      { signal, destination }: WaitOptions & { readonly destination?: Authority } = {},
    ): Promise<TokenResult> {
      const cached = peek(grantId);
      if (cached !== null) return cached;
      const result = await obtain(grantId, null, signal, destination);
      if (result.kind === 'unchanged')
        throw new SidekeyError('internal', 'No token was refused, yet it was kept.');
      return noted(result);
    },
    /**
     * Returns another token after an upstream's 401 to this one, or `unchanged`. Refreshes once if the stored
     * token is the refused one, but not within 10 s of the last refresh: an upstream that refuses every token
     * would cause endless refreshes. Rejects like `tokenFor`.
     */
    forceRefresh: async ({ grant, sealed }: ReadyToken, { signal }: WaitOptions = {}) =>
      noted(await obtain(grant.id, secretText(sealed.credential), signal)),
    /**
     * Refreshes a grant in the background. `even if fresh`: to keep its refresh token alive. `later` has the
     * milliseconds until the next attempt. Rejects with errors of the store and the vault.
     */
    refreshAhead: (grantId: string, when?: 'due' | 'even if fresh') => flights.refreshAhead(grantId, when),
    /** Starts no refresh, and waits (within limits) until those in progress are committed. Idempotent. */
    close(): Promise<void> {
      values.close();
      closed ??= flights.close();
      return closed;
    },
  };
}

function notNow({ grant }: OpenedGrant, { reason, retryAfterMs }: RefreshFailure): RefusedToken {
  const refused = { ...failedToken(grant, reason), retryAfterMs };
  return reason === storeAway ? { ...refused, code: 'store_unavailable' } : refused;
}

const readyTokens = new WeakMap<OpenedGrant, ReadyToken>();

function ready(opened: OpenedGrant): ReadyToken {
  let token = readyTokens.get(opened);
  if (token === undefined) {
    const { grant, sealed } = opened;
    readyTokens.set(opened, (token = { kind: 'ready', grant, sealed }));
  }
  return token;
}
