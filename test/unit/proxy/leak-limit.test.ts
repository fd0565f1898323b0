import { describe, expect, it } from 'vitest';
import { SidekeyError } from '../../../src/lib/errors.ts';
import { createLeakLimit, type LeakKey } from '../../../src/proxy/rule-limits.ts';
import { createMemoryQuota } from '../../support/memory-quota.ts';

const hour = 3_600_000;

function asker(agent: string | null, lease: string | null = null, limit?: number): LeakKey {
  const facts = lease === null ? null : { id: lease, purpose: '', expiresAt: 0 };
  return { caller: { agent, lease: facts }, grant: 'grant-1', limit };
}

async function counted(limit: ReturnType<typeof createLeakLimit>, who: LeakKey, times: number) {
  const codes: (string | null)[] = [];
  for (let time = 0; time < times; time += 1) codes.push((await limit.count(who))?.code ?? null);
  return codes;
}

describe('leaks', () => {
  it('are limited to five an hour for each agent, and accepted again after one expires', async () => {
    let now = 0;
    const limit = createLeakLimit(createMemoryQuota(), () => now);
    expect(await counted(limit, asker('robot'), 6)).toEqual([null, null, null, null, null, 'too_many_leaks']);
    expect(limit.refusal(asker('robot'))).toMatchObject({ code: 'too_many_leaks', retryAfterMs: hour / 5 });
    now = hour / 5;
    expect(limit.refusal(asker('robot'))).toBeNull();
    expect(await counted(limit, asker('robot'), 2)).toEqual([null, 'too_many_leaks']);
  });

  it('are counted separately for each agent, lease, callers without a token, and grant', async () => {
    const limit = createLeakLimit(createMemoryQuota(), () => 0);
    const others = [
      asker('robot', 'lease-1'),
      asker('other'),
      asker(null),
      { ...asker('robot'), grant: 'grant-2' },
    ];
    await counted(limit, asker('robot', null, 1), 2);
    expect(limit.refusal(asker('robot', null, 1))).not.toBeNull();
    for (const other of others) {
      expect(limit.refusal(other)).toBeNull();
      expect(await counted(limit, other, 1)).toEqual([null]);
    }
  });

  it('are counted together by processes with a shared quota', async () => {
    const quota = createMemoryQuota();
    const [one, other] = [createLeakLimit(quota, () => 0), createLeakLimit(quota, () => 0)];
    expect(await counted(one, asker('robot'), 5)).not.toContain('too_many_leaks');
    expect(await counted(other, asker('robot'), 1)).toEqual(['too_many_leaks']);
    expect(other.refusal(asker('robot'))).not.toBeNull();
  });

  it('end the exchange if the counter is unavailable', async () => {
    const quota = createMemoryQuota();
    const down = {
      ...quota,
      take: () => {
        throw new SidekeyError('store_unavailable', 'The disk is full.');
      },
    };
    expect(
      await counted(
        createLeakLimit(down, () => 0),
        asker('robot'),
        1,
      ),
    ).toEqual(['store_unavailable']);
  });
});
