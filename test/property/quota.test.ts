import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { RuleLimit } from '../../src/proxy/policy/rule.ts';
import { createMemoryQuota } from '../support/memory-quota.ts';
import { type QuotaKey, countAt, type Quota } from '../../src/agents/quota/quota.ts';
import { createSharedQuota } from '../../src/agents/quota/shared-quota.ts';
import * as fc from '../support/fast-check.ts';
import { tempFolder } from '../support/temp-folder.ts';

const who: QuotaKey = { agent: 'ci', grant: 'grant-1' };
const dayMs = 86_400_000;
const begin = Date.UTC(2026, 10, 21, 23, 59, 50);

const rate = fc.record({
  kind: fc.constant('rate' as const),
  key: fc.constant('rule-1'),
  per: fc.constant('agent' as const),
  count: fc.integer({ min: 1, max: 20 }),
  perMs: fc.constantFrom(1, 7, 97, 999, 1_000, 3_333, 60_000, dayMs),
  burst: fc.integer({ min: 1, max: 6 }),
});
const budget = fc.record({
  kind: fc.constant('budget' as const),
  key: fc.constant('rule-2'),
  per: fc.constant('agent' as const),
  requests: fc.option(fc.integer({ min: 0, max: 10 })),
  bytes: fc.option(fc.integer({ min: 0, max: 1_000 })),
});

/** Steps of a clock, in milliseconds: on, a little on, and back. */
const steps = (back: fc.Arbitrary<number>) =>
  fc.array(fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, fc.nat(20), fc.nat(5_000), back), {
    minLength: 20,
    maxLength: 200,
  });

const passed = (clock: readonly { readonly ok: boolean }[]) => clock.filter(({ ok }) => ok).length;

/** One request after each step of the clock. */
async function requests(
  limits: readonly RuleLimit[],
  moves: readonly number[],
  quota: Quota = createMemoryQuota(),
) {
  const asked = [];
  let now = begin;
  for (const move of moves) {
    now += move;
    asked.push({ now, ...quota.take(limits, who, now) });
  }
  return asked;
}

test('a rate allows at most its burst plus its refill, whatever the clock does', async () => {
  await fc.assert(
    fc.asyncProperty(rate, steps(fc.integer({ min: -dayMs, max: dayMs })), async (limit, moves) => {
      const onward = moves.slice(1).reduce((sum, move) => sum + Math.max(0, move), 0);
      const got = passed(await requests([limit], moves));
      expect(got * limit.perMs).toBeLessThanOrEqual(limit.burst * limit.perMs + limit.count * onward);
    }),
  );
});

test('a rate does not refill twice for the same time after the clock steps back by less than a minute', async () => {
  await fc.assert(
    fc.asyncProperty(rate, steps(fc.integer({ min: -200, max: 0 })), async (limit, moves) => {
      const asked = await requests([limit], moves);
      const latest = Math.max(...asked.map(({ now }) => now));
      expect(passed(asked) * limit.perMs).toBeLessThanOrEqual(
        limit.burst * limit.perMs + limit.count * (latest - asked[0]!.now),
      );
    }),
  );
});

test('a rate allows at most its burst plus its refill in every interval', async () => {
  await fc.assert(
    fc.asyncProperty(rate, steps(fc.nat(60_000)), fc.nat(100), async (limit, moves, from) => {
      const asked = (await requests([limit], moves)).slice(from);
      if (asked.length === 0) return;
      expect(passed(asked) * limit.perMs).toBeLessThanOrEqual(
        limit.burst * limit.perMs + limit.count * (asked.at(-1)!.now - asked[0]!.now),
      );
    }),
  );
});

test('a rate never refuses requests that arrive no faster than the rate', async () => {
  await fc.assert(
    fc.asyncProperty(rate, fc.integer({ min: 1, max: 200 }), async (limit, length) => {
      const pace = Math.ceil(limit.perMs / limit.count);
      expect(
        passed(
          await requests(
            [limit],
            Array.from({ length }, () => pace),
          ),
        ),
      ).toBe(length);
    }),
  );
});

test('a refused request succeeds after the returned wait, and not a millisecond earlier', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.oneof(rate, budget), { minLength: 1, maxLength: 3 }),
      steps(fc.integer({ min: -200, max: 0 })),
      async (some, moves) => {
        const limits = some.map((limit, index) => ({ ...limit, key: `rule-${index}` }));
        if (limits.some((limit) => limit.kind === 'budget' && (limit.requests === 0 || limit.bytes === 0)))
          return;
        const quota = createMemoryQuota();
        const last = (await requests(limits, moves, quota)).at(-1)!;
        if (last.ok) return;
        expect(last.retryAfterMs).toBeGreaterThan(0);
        expect(limits).toContainEqual(last.limit);
        expect(quota.take(limits, who, last.now + last.retryAfterMs - 1)).toMatchObject({ ok: false });
        expect(quota.take(limits, who, last.now + last.retryAfterMs)).toEqual({ ok: true });
      },
    ),
  );
});

test('computing a count twice for the same moment changes nothing', () => {
  fc.assert(
    fc.property(rate, fc.nat(1e6), fc.nat(1e9), (limit, used, at) => {
      const count = { at, used: Math.min(used, limit.burst * limit.perMs), unit: limit.perMs, bytes: 0 };
      expect(countAt(limit, count, at)).toEqual(count);
    }),
  );
});

test('a budget is refilled once a day, even if the clock steps back by less than a minute', async () => {
  await fc.assert(
    fc.asyncProperty(budget, steps(fc.integer({ min: -200, max: 0 })), async (limit, moves) => {
      let latest = begin;
      const asked = (await requests([limit], moves)).map(({ now, ok }) => {
        latest = Math.max(latest, now);
        return { ok, day: Math.floor(latest / dayMs) };
      });
      const days = Map.groupBy(
        asked.filter(({ ok }) => ok),
        ({ day }) => day,
      );
      for (const [, taken] of days) expect(taken.length).toBeLessThanOrEqual(limit.requests ?? Infinity);
    }),
  );
});

test('the shared quota counts the same as the quota in memory', async () => {
  const folder = await tempFolder();
  const path = join(folder, 'quota.db');
  const step = fc.record({
    move: fc.oneof(fc.nat(50), fc.nat(5_000), fc.integer({ min: -dayMs, max: dayMs })),
    agent: fc.constantFrom('ci', 'cd', null),
    bytes: fc.option(fc.nat(100)),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.tuple(rate, budget, rate),
      fc.array(step, { minLength: 1, maxLength: 40 }),
      async ([first, day, reloaded], script) => {
        const memory = createMemoryQuota();
        const shared = [createSharedQuota(path), createSharedQuota(path)];
        try {
          let now = begin;
          for (const [index, { move, agent, bytes }] of script.entries()) {
            now += move;
            const limits = index < script.length / 2 ? [first, day] : [reloaded, day];
            const asker = { agent, grant: 'grant-1' };
            const file = shared[index % 2]!;
            expect(file.take(limits, asker, now)).toEqual(memory.take(limits, asker, now));
            if (bytes === null) continue;
            for (const quota of [file, memory]) quota.spend(limits, asker, bytes, now);
          }
        } finally {
          for (const quota of shared) quota.close();
          for (const file of [path, `${path}-wal`, `${path}-shm`]) rmSync(file, { force: true });
        }
      },
    ),
    { numRuns: 30 },
  );
});
