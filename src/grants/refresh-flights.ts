import type { Provider } from '../domain/provider.ts';
import { secretText, type OpenedGrant } from '../domain/credential.ts';
import { within } from '../lib/timers.ts';
import { createRefreshBackoff, placeOf } from './refresh-backoff.ts';
import { type AttemptOutcome, createRefreshAttempts, type RefreshParts } from './refresh.ts';

export interface RefreshFlightsParts extends RefreshParts {
  /** 0 to 1, for the jitter of the back-off. */
  readonly random: () => number;
  /** Logger for background refresh failures, which no request reports. */
  readonly logger?: { warn(fields: object, message: string): void } | undefined;
}

/** Reason for a missing token, and the time of the next attempt. */
export interface RefreshFailure {
  readonly reason: string;
  /** Milliseconds until the next attempt; 0: in progress. */
  readonly retryAfterMs: number;
}

type Refusal = Extract<AttemptOutcome, { kind: 'refused' }>;

/** Background attempts for the record and the provider definition that failed. */
interface Retries {
  readonly revision: number;
  readonly provider: Provider | undefined;
  wantedAt: number;
  cancel: () => void;
}

/** Refreshes of a grant by this process. Times are milliseconds since the epoch; undefined: never. */
interface GrantState {
  underWay?: Promise<AttemptOutcome>;
  /** True once no caller waits for the refresh, whose answer is late. */
  isLate?: boolean;
  /** End of the last attempt. */
  endedAt?: number;
  /** Last new token, or start of the last forced refresh. */
  renewedAt?: number;
  /** Time at which another process was found refreshing the grant. */
  elsewhereAt?: number;
  /** The provider's last refusal, with the provider definition of the refused request. */
  refusal?: Refusal & { readonly at: number; readonly provider: Provider | undefined };
  retries?: Retries;
}

/** Minimum milliseconds between two forced refreshes of a grant, and after any other refresh. */
const forcedEveryMs = 10_000;
/** Milliseconds for which a refusal is remembered while the configuration is unchanged. */
const refusalMs = 30_000;
/** Pause of the background in milliseconds while another process refreshes the grant. */
const elsewhereMs = 250;
/** Milliseconds of background attempts after the last request that needed the token. */
const wantedMs = 300_000;

/**
 * Refreshes of this process: one at a time per grant, with their last results, so that requests do not repeat
 * calls to a failing or refusing provider. Constructing it has no side effects.
 */
export class RefreshFlights {
  readonly #parts: RefreshFlightsParts;
  readonly #attempts: ReturnType<typeof createRefreshAttempts>;
  readonly #backoff: ReturnType<typeof createRefreshBackoff>;
  readonly #states = new Map<string, GrantState>();
  readonly #stopping = new AbortController();

  constructor(parts: RefreshFlightsParts) {
    this.#parts = parts;
    this.#attempts = createRefreshAttempts(parts);
    this.#backoff = createRefreshBackoff(parts.now, parts.random);
  }

  /** Aborted once no further refresh starts. */
  get stopping(): AbortSignal {
    return this.#stopping.signal;
  }

  isUnderWay(grantId: string): boolean {
    return this.#states.get(grantId)?.underWay !== undefined;
  }

  /**
   * Joins the refresh in progress, or starts one that waits for other processes. A caller that disconnects
   * does not cancel it. `unwanted`: a token that an upstream refused. Never rejects.
   */
  join(opened: OpenedGrant, unwanted: string | null): Promise<AttemptOutcome> {
    return this.#fly(opened, unwanted, true);
  }

  /** Starts a refresh in the background, unless a pause or a refusal forbids it. */
  begin(opened: OpenedGrant): void {
    const { underWay, elsewhereAt } = this.#of(opened);
    if (underWay !== undefined || this.stopping.aborted || this.#isWithin(elsewhereMs, elsewhereAt)) return;
    if (this.#backoff.wait(placeOf(opened), 'background') > 0 || this.refusalOf(opened) !== null) return;
    void this.#fly(opened, null, false);
  }

  /** See `TokenSource.refreshAhead`. */
  async refreshAhead(grantId: string, when: 'due' | 'even if fresh' = 'due'): Promise<AttemptOutcome> {
    const opened = await this.#parts.registry.open(grantId);
    if (opened === null || this.stopping.aborted) return { kind: 'renewed', opened: null };
    const refusal = this.refusalOf(opened);
    if (refusal !== null) return refusal;
    const waitMs = () => this.#backoff.wait(placeOf(opened), 'background');
    if (waitMs() > 0) return { kind: 'later', reason: null, retryAfterMs: waitMs() };
    const unwanted = when === 'due' ? null : secretText(opened.sealed.credential);
    const outcome = await this.#fly(opened, unwanted, false);
    if (outcome.kind !== 'later') return outcome;
    return { ...outcome, retryAfterMs: outcome.reason === null ? 2 * elsewhereMs : waitMs() };
  }

  /** Returns the provider's current refusal; null: none. */
  refusalOf(opened: OpenedGrant): Refusal | null {
    const state = this.#of(opened);
    const { refusal } = state;
    if (refusal === undefined) return null;
    if (this.#isWithin(refusalMs, refusal.at) && this.#isOf(refusal, opened)) return refusal;
    delete state.refusal;
    return null;
  }

  /** Milliseconds until a request may call the provider; 0: now. */
  wait(opened: OpenedGrant): number {
    return this.#backoff.wait(placeOf(opened), 'request');
  }

  /**
   * Returns why the last refresh failed, while its answer is late or attempts continue in the background.
   * Null: a request may join or start a refresh.
   */
  failureOf(opened: OpenedGrant): RefreshFailure | null {
    const isFailing = this.#of(opened).isLate === true || this.#retriesOf(opened) !== null;
    return isFailing ? this.#failure(opened) : null;
  }

  /** Keeps retrying in the background while requests still fail for this grant. */
  keepTrying(opened: OpenedGrant): RefreshFailure {
    const retries = this.#retriesOf(opened);
    const { now, providers } = this.#parts;
    if (retries !== null) retries.wantedAt = now();
    else if (!this.stopping.aborted) {
      const { revision, provider } = opened.grant;
      const begun = { revision, provider: providers(provider), wantedAt: now(), cancel: () => undefined };
      this.#of(opened).retries = begun;
      this.#retryLater(opened, begun);
    }
    return this.#failure(opened);
  }

  /**
   * Reports whether a forced refresh may start: not within 10 s of the last refresh, because an upstream that
   * refuses every token would cause endless refreshes.
   */
  mayForce(grantId: string): boolean {
    return !this.#isWithin(forcedEveryMs, this.#states.get(grantId)?.renewedAt);
  }

  /** Notes the start of a forced refresh. */
  forced(opened: OpenedGrant): void {
    this.#of(opened).renewedAt = this.#parts.now();
  }

  /** Starts no further refresh, and waits (within limits) until those in progress are committed. */
  async close(): Promise<void> {
    this.#stopping.abort();
    for (const state of this.#states.values()) endRetries(state);
    const attempts = this.#attempts;
    const ended = this.#ended();
    await within(this.#parts.timers, ended, attempts.stopMs.answer);
    attempts.abandon();
    await within(this.#parts.timers, ended, attempts.stopMs.commit);
    await attempts.flush();
  }

  /** Resolves when no refresh is in progress, not even a late one. */
  async #ended(): Promise<void> {
    for (;;) {
      const underWay = [...this.#states.values()].flatMap((state) => state.underWay ?? []);
      if (underWay.length === 0) return;
      await Promise.allSettled(underWay);
    }
  }

  #of({ grant: { id } }: OpenedGrant): GrantState {
    let state = this.#states.get(id);
    if (state === undefined) this.#states.set(id, (state = {}));
    return state;
  }

  /** Reports whether `at` was less than `ms` ago. A future time (the clock was set back) was not. */
  #isWithin(ms: number, at: number | undefined): boolean {
    const now = this.#parts.now();
    return at !== undefined && now >= at && now - at < ms;
  }

  /** Reports whether an outcome is of the present record and definition of the provider. */
  #isOf({ revision, provider }: Pick<Retries, 'revision' | 'provider'>, { grant }: OpenedGrant): boolean {
    return revision === grant.revision && provider === this.#parts.providers(grant.provider);
  }

  #fly(opened: OpenedGrant, unwanted: string | null, patient: boolean): Promise<AttemptOutcome> {
    const state = this.#of(opened);
    if (state.underWay !== undefined) return state.underWay;
    const { id, provider } = opened.grant;
    const asked = this.#parts.providers(provider);
    // A second attempt of this process calls the provider itself.
    const isFirst = patient && unwanted === null && this.#backoff.reason(id) === null;
    const adoptsSince = isFirst ? (state.endedAt ?? 0) : undefined;
    const options = { unwanted, patient, adoptsSince, stopping: this.stopping };
    const follow = (attempt: Promise<AttemptOutcome>): Promise<AttemptOutcome> =>
      (state.underWay = attempt.then((outcome) => {
        const rest = outcome.kind === 'later' ? outcome.rest : undefined;
        state.isLate = rest !== undefined;
        state.endedAt = this.#parts.now();
        this.#remember(opened, outcome, asked);
        delete state.underWay;
        if (rest !== undefined) void follow(rest);
        return outcome;
      }));
    return follow(this.#attempts.attempt(id, options));
  }

  #remember(opened: OpenedGrant, outcome: AttemptOutcome, provider: Provider | undefined): void {
    const state = this.#of(opened);
    const { now, logger } = this.#parts;
    const { id } = opened.grant;
    switch (outcome.kind) {
      case 'renewed':
        if (outcome.opened === null) return this.#backoff.settled(id);
        this.#backoff.succeeded(placeOf(opened));
        delete state.refusal;
        state.renewedAt = now();
        return;
      case 'refused':
        state.refusal = { ...outcome, provider, at: now() };
        return;
      case 'later': {
        const { reason, retryAfterMs, fault: err } = outcome;
        if (reason === null) state.elsewhereAt = now();
        else this.#backoff.failed(placeOf(opened), reason, retryAfterMs);
        if (err !== undefined)
          logger?.warn({ grant: id, err }, 'A token refresh failed before the provider was asked.');
      }
    }
  }

  #retriesOf(opened: OpenedGrant): Retries | null {
    const state = this.#of(opened);
    if (state.retries === undefined) return null;
    if (this.#isOf(state.retries, opened)) return state.retries;
    endRetries(state);
    return null;
  }

  #failure(opened: OpenedGrant): RefreshFailure {
    const { id } = opened.grant;
    return {
      reason: this.#backoff.reason(id) ?? 'no answer came in time',
      retryAfterMs: this.isUnderWay(id) ? 0 : this.wait(opened),
    };
  }

  /** Schedules the next attempt, and further ones while they fail. */
  #retryLater(opened: OpenedGrant, retries: Retries, leastMs = 0): void {
    const state = this.#of(opened);
    retries.cancel = this.#parts.timers.after(Math.max(leastMs, this.wait(opened)), () => {
      if (!this.#isWithin(wantedMs, retries.wantedAt)) {
        endRetries(state);
        return;
      }
      void this.#fly(opened, null, false).then(({ kind }) => {
        // The retries have ended or restarted meanwhile.
        if (state.retries !== retries) return;
        if (kind === 'later') this.#retryLater(opened, retries, elsewhereMs);
        else endRetries(state);
      });
    });
  }
}

function endRetries(state: GrantState): void {
  state.retries?.cancel();
  delete state.retries;
}
