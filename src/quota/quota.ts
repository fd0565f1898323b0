import type { RuleLimit } from '../policy/rule.ts';

/** Whose request it is; a limit is counted for the one that its `per` names. */
export interface Asker {
  /** Name of the agent. All callers without a token (null) are counted as one. */
  readonly agent: string | null;
  /** Id of the grant. */
  readonly grant: string;
}

/**
 * Whether a request may begin, or go on. `limit` is the one that makes it wait longest, `retryAfterMs` how long: at
 * least 1.
 */
export type Taken =
  { readonly ok: true } | { readonly ok: false; readonly retryAfterMs: number; readonly limit: RuleLimit };

/**
 * What is left of the limits of rules: token buckets for rates, and sums of a day in UTC for budgets. A counter is named
 * by the limit's `key` and by whom it is counted for, so that it outlives a reload of the rules.
 *
 * A clock that steps back by up to a minute stands still here: no moment is counted twice. One that steps back further
 * was wrong before; it goes on from where it is, and gives nothing for the step. What one agent has left is never more
 * than a burst and what its rate gave since.
 */
export interface Quota {
  /**
   * Takes one request from every limit, or from none of them. Limits that are not reached cost what is spent later.
   * @param now milliseconds since the epoch
   * @throws SidekeyError `store_unavailable`, where it cannot be known what is left: then nothing may pass
   */
  take(limits: readonly RuleLimit[], who: Asker, now: number): Promise<Taken>;
  /**
   * Settles bytes of a request that was taken, as they go through. They may be more than there were: then the budget is
   * overdrawn, and the answer is a no. Never throws: what cannot be written now stays owed, and the next use of this
   * process pays it first; meanwhile a budget is overdrawn when as much as it gives is owed.
   */
  spend(limits: readonly RuleLimit[], who: Asker, bytes: number, now: number): Taken;
  /** Lets go of what it holds; what others of this machine share of it goes on. Idempotent. */
  close(): void;
}
