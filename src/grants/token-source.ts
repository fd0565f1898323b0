/**
 * The source of a request's token: memory, then the store, then the provider. The two clocks (a token is due, a
 * token has ended), and the retry after an upstream's 401.
 */
import { SidekeyError } from '../lib/errors.ts';
import { pause, systemTimers, type Timers, within } from '../lib/timers.ts';
import type { Authority } from '../policy/authority.ts';
import { checkAudience } from '../schemes/apply.ts';
import { type ActivityNotes, grantEvent } from './activity.ts';
import { clockOf, secretText } from '../domain/credential.ts';
import type { Grant } from '../domain/grant.ts';
import {
  type AheadOutcome,
  createRefreshFlights,
  type RefreshFailure,
  type RefreshFlightsParts,
  storeAway,
} from './refresh-flights.ts';
import type { OpenedGrant } from './registry.ts';
import { createSourceValues, type SourceValuesParts } from './source-values.ts';
import {
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
export interface TokenSource {
  /**
   * The token, where it is at hand: for the request path, some microseconds. Null: ask `tokenFor`. A token that is due
   * is answered too, and refreshed meanwhile. Throws what `Store.epoch` throws.
   */
  peek(grantId: string): ReadyToken | null;
  /**
   * The token, refreshed first where it has ended; waits at most `refresh_wait`, and not at all while the provider
   * fails: then attempts continue in the background, and `retryAfterMs` says when the next one is due. Rejects with the
   * signal's reason when that is aborted, which leaves the refresh and all others that wait for it alone, with what store
   * and vault throw, and with `policy_violation` where a provider or source would be asked for the sake of a destination
   * outside the audience.
   */
  tokenFor(
    grantId: string,
    options?: WaitOptions & { readonly destination?: Authority },
  ): Promise<TokenResult>;
  /**
   * After an upstream answered 401 to this token: another one, or `unchanged`. Refreshes once where the stored token
   * is still the refused one, and not within 10 s of the last refresh: an upstream that refuses every token would
   * have them refreshed for ever. Rejects like `tokenFor`.
   */
  forceRefresh(refused: ReadyToken, options?: WaitOptions): Promise<TokenResult | UnchangedToken>;
  /**
   * Refreshes a grant that nobody waits for. `even if fresh`: for the sake of its refresh token. Answers whether to
   * leave it alone for a while. Rejects with what store and vault throw.
   */
  refreshAhead(grantId: string, when?: 'due' | 'even if fresh'): Promise<AheadOutcome>;
  /** Starts no further refresh, and waits (within limits) until those in progress are committed. Idempotent. */
  close(): Promise<void>;
}

/** The end of a wait besides `refresh_wait`: the signal is aborted. */
interface WaitOptions {
  readonly signal?: AbortSignal | undefined;
}

/** The parts that a token source needs. */
export interface TokenSourceParts extends Omit<RefreshFlightsParts, 'timers' | 'activity' | 'random'> {
  /** Told whose credentials requests got, and what came of refreshes. */
  readonly activity: Pick<ActivityNotes, 'used' | 'refreshed' | 'failed'>;
  /** By default those of the process. */
  readonly timers?: Timers;
  /** From 0 to 1, for the jitter of the back-off; by default `Math.random`. */
  readonly random?: () => number;
  readonly sources: SourceValuesParts['sources'];
}

/** Time until which callers wait for further attempts: one failure of a provider is no outage. */
const graceMs = 2_000;
/** No way of things leads here; it keeps a disagreement between store and memory from spinning. */
const maxRounds = 200;

/** Starts nothing by itself; `close` waits for the refreshes that requests have started. */
export function createTokenSource(options: TokenSourceParts): TokenSource {
  const { registry, now, skewMs, logger, timers = systemTimers, random = Math.random } = options;
  const patienceMs = options.limits.refresh_wait;
  const flights = createRefreshFlights({ ...options, timers, random });
  const values = createSourceValues({ ...options, timers, random });
  let closed: Promise<void> | null = null;

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
    /** It waited for an attempt that failed: a caller after a failure does not wait. */
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
      if (destination !== undefined) checkAudience(opened.sealed, destination);
      last = opened;
      const forced = unwanted !== null;
      const refusal = flights.refusalOf(opened);
      if (refusal !== null) {
        return forced ? { kind: 'unchanged' } : failedToken(opened.grant, refusal.reason, refusal.hint);
      }
      if (flights.stopping.aborted) return failedToken(opened.grant, 'Sidekey is stopping');
      if (opened.sealed.credential.type === 'source') {
        const result = await values.obtain(opened, unwanted, signal);
        // The grant may have been revoked or changed while its source was asked.
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
        // Nothing is awaited from here to the start of the flight: of all that come at once, one starts it.
        if (forced && !flights.mayForce(grantId)) return { kind: 'unchanged' };
        if (flights.wait(opened) > 0) {
          return forced ? { kind: 'unchanged' } : notNow(opened, flights.keepTrying(opened));
        }
        if (forced) flights.forced(grantId);
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
          // A new token is used, however short its lifetime is.
          return ready(outcome.opened);
        case 'fault':
          throw outcome.error;
        case 'transient':
          waited = true;
          if (!forced) flights.keepTrying(opened);
          break;
        case 'refused':
        case 'settled':
        case 'elsewhere':
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
    const reason = state === 'expired' ? endWords(grant) : null;
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

  /** The request has it now. */
  function noted<T extends TokenResult | UnchangedToken>(result: T): T {
    if (result.kind === 'ready') options.activity.used(result.grant.id);
    return result;
  }

  function ended(grant: Grant): RefusedToken {
    return expiredToken(grant, options.providers(grant.provider));
  }

  return {
    peek,
    async tokenFor(grantId, { signal, destination } = {}) {
      const known = peek(grantId);
      if (known !== null) return known;
      const result = await obtain(grantId, null, signal, destination);
      if (result.kind === 'unchanged')
        throw new SidekeyError('internal', 'No token was refused, yet it was kept.');
      return noted(result);
    },
    forceRefresh: async ({ grant, sealed }, { signal } = {}) =>
      noted(await obtain(grant.id, secretText(sealed.credential), signal)),
    refreshAhead: (grantId, when) => flights.refreshAhead(grantId, when),
    close() {
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

/** One for each opened grant. */
const readyTokens = new WeakMap<OpenedGrant, ReadyToken>();

function ready(opened: OpenedGrant): ReadyToken {
  let token = readyTokens.get(opened);
  if (token === undefined) {
    const { grant, sealed } = opened;
    readyTokens.set(opened, (token = { kind: 'ready', grant, sealed }));
  }
  return token;
}
