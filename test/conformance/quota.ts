import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { RuleLimit } from '../../src/proxy/policy/rule.ts';
import type { QuotaKey, Quota, QuotaResult } from '../../src/agents/quota/quota.ts';

/** A quota to test in which nothing is used. */
export interface QuotaUnderTest {
  readonly quota: Quota;
  /** Number of counts that are kept. */
  counts(): number;
  cleanup(): Promise<void> | void;
}

type RateLimit = Extract<RuleLimit, { readonly kind: 'rate' }>;
type Budget = Extract<RuleLimit, { readonly kind: 'budget' }>;

const rate = (fields: Partial<RateLimit> = {}): RuleLimit => ({
  kind: 'rate',
  key: 'rule-1',
  per: 'agent',
  count: 2,
  perMs: 1_000,
  burst: 3,
  ...fields,
});
const budget = (fields: Partial<Budget> = {}): RuleLimit => ({
  kind: 'budget',
  key: 'rule-1',
  per: 'agent',
  requests: 3,
  bytes: null,
  ...fields,
});
const ci: QuotaKey = { agent: 'ci', grant: 'grant-1' };

/** Noon UTC. */
const noon = Date.UTC(2026, 10, 21, 12);
const midnight = Date.UTC(2026, 10, 22);
const hour = 3_600_000;

/** Tests that every implementation of `Quota` must pass. */
export function quotaConformance(name: string, open: () => Promise<QuotaUnderTest> | QuotaUnderTest): void {
  describe(`${name} as a quota`, () => {
    let subject: QuotaUnderTest;
    let quota: Quota;
    beforeEach(async () => {
      subject = await open();
      quota = subject.quota;
    });
    afterEach(() => subject.cleanup());

    /** Takes until it is refused: how many it got, and the refusal. */
    async function drain(limits: readonly RuleLimit[], who = ci, now = noon) {
      for (let got = 0; ; got += 1) {
        const taken = quota.take(limits, who, now);
        if (!taken.ok) return { got, ...taken };
      }
    }
    const take = (limit: RuleLimit, now: number, who = ci): QuotaResult => quota.take([limit], who, now);

    it('allows everything without limits, and stores no count', async () => {
      for (let n = 0; n < 10; n += 1) expect(quota.take([], ci, noon)).toEqual({ ok: true });
      quota.spend([], ci, 1e9, noon);
      expect(subject.counts()).toBe(0);
    });

    describe('a rate', () => {
      it('allows its burst at once, and then returns the wait for the next request', async () => {
        expect(await drain([rate()])).toMatchObject({ got: 3, retryAfterMs: 500, limit: rate() });
      });

      it('allows the next request after that wait, and not a millisecond earlier', async () => {
        await drain([rate()]);
        expect(take(rate(), noon + 499)).toMatchObject({ ok: false, retryAfterMs: 1 });
        expect(take(rate(), noon + 500)).toEqual({ ok: true });
        expect(take(rate(), noon + 500)).toMatchObject({ ok: false, retryAfterMs: 500 });
      });

      it('allows no more than its burst after a long pause', async () => {
        await drain([rate()]);
        for (const pause of [30_000, 24 * hour]) {
          expect(await drain([rate()], ci, noon + pause)).toMatchObject({ got: 3 });
        }
      });

      it('adds up fractions of a request exactly', async () => {
        const third = rate({ count: 1, perMs: 3_333, burst: 1 });
        let got = 0;
        for (let ms = 0; ms <= 33_330; ms += 1) if (take(third, noon + ms).ok) got += 1;
        expect(got).toBe(11);
      });

      it('charges nothing for a refused request', async () => {
        await drain([rate()]);
        for (let n = 0; n < 10; n += 1) take(rate(), noon + 100);
        expect(take(rate(), noon + 500)).toEqual({ ok: true });
      });

      it('does not refill twice for the same time after the clock steps back slightly', async () => {
        await drain([rate()], ci, noon);
        for (const back of [1, 1_000, 60_000]) {
          expect(take(rate(), noon - back)).toMatchObject({ ok: false, retryAfterMs: 500 + back });
          expect(take(rate(), noon + 499)).toMatchObject({ ok: false });
        }
      });

      it('continues after the clock is set far back, without extra credit or a longer wait', async () => {
        await drain([rate()], ci, noon);
        expect(take(rate(), noon - hour)).toMatchObject({ ok: false, retryAfterMs: 500 });
        expect(await drain([rate()], ci, noon - hour + 500)).toMatchObject({ got: 1 });
      });
    });

    describe('a budget', () => {
      it('allows its number of requests, and is full again at midnight UTC', async () => {
        expect(await drain([budget()])).toMatchObject({ got: 3, retryAfterMs: 12 * hour, limit: budget() });
        expect(take(budget(), midnight - 1)).toMatchObject({ ok: false, retryAfterMs: 1 });
        expect(await drain([budget()], ci, midnight)).toMatchObject({ got: 3, retryAfterMs: 24 * hour });
      });

      it('is not refilled twice by a clock that steps around midnight', async () => {
        await drain([budget()], ci, midnight);
        for (const now of [midnight - 1, midnight, midnight - 60_000, midnight + 1]) {
          expect(take(budget(), now)).toMatchObject({ ok: false });
        }
      });

      it('of yesterday is kept for clocks that are slightly late', async () => {
        await drain([budget()], ci, midnight - 60_001);
        take(rate(), midnight);
        expect(take(budget(), midnight - 1)).toMatchObject({ ok: false });
      });

      it('is not refilled when the clock is set back by a day, and continues from the new time', async () => {
        await drain([budget()], ci, noon);
        expect(take(budget(), noon - 24 * hour)).toMatchObject({ ok: false, retryAfterMs: 12 * hour });
        expect(await drain([budget()], ci, midnight - 24 * hour)).toMatchObject({ got: 3 });
      });

      const bytes = budget({ requests: null, bytes: 1_000 });

      it('of bytes refuses the next request after it is exhausted', async () => {
        quota.spend([bytes], ci, 999, noon);
        expect(take(bytes, noon)).toEqual({ ok: true });
        quota.spend([bytes], ci, 1, noon);
        expect(take(bytes, noon)).toMatchObject({ ok: false, retryAfterMs: 12 * hour, limit: bytes });
      });

      it('of bytes may be overdrawn by requests in flight, and is full again the next day', async () => {
        expect(take(bytes, noon)).toEqual({ ok: true });
        quota.spend([bytes], ci, 1e9, noon);
        expect(take(bytes, noon)).toMatchObject({ ok: false });
        expect(take(bytes, midnight)).toEqual({ ok: true });
      });

      it('of bytes reports that it is overdrawn, and when it is full again', async () => {
        expect(quota.spend([bytes], ci, 1_000, noon)).toEqual({ ok: true });
        expect(quota.spend([bytes], ci, 1, noon)).toEqual({
          ok: false,
          limit: bytes,
          retryAfterMs: midnight - noon,
        });
        expect(quota.spend([bytes], ci, 1, midnight)).toEqual({ ok: true });
      });

      it('charges a response that ends after midnight to the new day', async () => {
        take(bytes, noon);
        quota.spend([bytes], ci, 1_000, midnight);
        expect(take(bytes, midnight)).toMatchObject({ ok: false, retryAfterMs: 24 * hour });
      });

      it('of requests is not charged for bytes, and neither is a rate', async () => {
        quota.spend([budget(), rate()], ci, 1e9, noon);
        expect(subject.counts()).toBe(0);
        expect(await drain([budget()])).toMatchObject({ got: 3 });
      });

      it('of zero refuses every request', async () => {
        expect(take(budget({ requests: 0 }), noon)).toMatchObject({ ok: false });
        expect(take(budget({ requests: null, bytes: 0 }), noon)).toMatchObject({ ok: false });
      });
    });

    describe('several limits', () => {
      const strict = rate({ key: 'rule-2', burst: 1, count: 1 });

      it('are charged together or not at all', async () => {
        expect(await drain([rate({ burst: 10 }), strict])).toMatchObject({ got: 1, limit: strict });
        expect(await drain([rate({ burst: 10 })])).toMatchObject({ got: 9 });
      });

      it('refuse with the limit that has the longest wait, in any order', async () => {
        const day = budget({ requests: 1 });
        for (const limits of [
          [day, strict],
          [strict, day],
        ])
          expect(await drain(limits)).toMatchObject({ limit: day, retryAfterMs: 12 * hour });
      });

      it('with the same name are charged only once', async () => {
        expect(await drain([rate(), rate()])).toMatchObject({ got: 1 });
        expect(await drain([rate()])).toMatchObject({ got: 1 });
      });
    });

    describe('a count', () => {
      const others: readonly [RuleLimit['per'], QuotaKey][] = [
        ['agent', { agent: 'cd', grant: 'grant-1' }],
        ['agent', { agent: null, grant: 'grant-1' }],
        ['agent', { agent: 'null', grant: 'grant-1' }],
        ['grant', { agent: 'ci', grant: 'grant-2' }],
      ];
      it.each(others)('per %s is separate for %j', async (per, other) => {
        await drain([rate({ per })]);
        expect(take(rate({ per }), noon, other)).toEqual({ ok: true });
      });

      const same: readonly [RuleLimit['per'], QuotaKey][] = [
        ['agent', { agent: 'ci', grant: 'grant-2' }],
        ['grant', { agent: 'cd', grant: 'grant-1' }],
        ['grant', { agent: null, grant: 'grant-1' }],
        ['rule', { agent: 'cd', grant: 'grant-2' }],
      ];
      it.each(same)('per %s is shared with %j', async (per, other) => {
        await drain([rate({ per })]);
        expect(take(rate({ per }), noon, other)).toMatchObject({ ok: false });
      });

      it('is shared by all callers without a token', async () => {
        await drain([rate()], { agent: null, grant: 'grant-1' });
        expect(take(rate(), noon, { agent: null, grant: 'grant-2' })).toMatchObject({ ok: false });
      });

      it('is separate for each rule, scope and kind', async () => {
        await drain([rate()]);
        expect(take(rate({ key: 'rule-2' }), noon)).toEqual({ ok: true });
        expect(take(rate({ per: 'grant' }), noon)).toEqual({ ok: true });
        expect(take(budget(), noon)).toEqual({ ok: true });
        const nobody: QuotaKey = { agent: null, grant: 'grant-1' };
        await drain([rate({ per: 'rule' })], nobody);
        expect(take(rate(), noon, nobody)).toEqual({ ok: true });
        const confusing: QuotaKey = { agent: 'a","agent","b', grant: 'g' };
        await drain([rate({ key: 'k' })], confusing);
        expect(take(rate({ key: 'k","agent","a' }), noon, { agent: 'b', grant: 'g' })).toEqual({
          ok: true,
        });
      });

      it('survives a reload, with the new values of the rule', async () => {
        await drain([rate()]);
        expect(await drain([rate({ burst: 5 })])).toMatchObject({ got: 2 });
        expect(await drain([rate({ burst: 1, count: 1 })])).toMatchObject({ got: 0, retryAfterMs: 1_000 });
        expect(await drain([rate({ burst: 1, count: 1, perMs: 60_000 })])).toMatchObject({
          got: 0,
          retryAfterMs: 60_000,
        });
        expect(await drain([rate()])).toMatchObject({ got: 0, retryAfterMs: 500 });
      });

      it('is deleted when it is stale', async () => {
        for (let n = 0; n < 50; n += 1) {
          quota.take([rate(), budget()], { agent: `agent-${n}`, grant: 'g' }, noon + n);
        }
        expect(subject.counts()).toBe(100);
        take(rate(), noon + hour);
        expect(subject.counts()).toBe(51);
        take(rate(), midnight + hour);
        expect(subject.counts()).toBe(1);
      });
    });
  });
}
