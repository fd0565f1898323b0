import { describe, expect, it, onTestFinished } from 'vitest';
import type { RuleLimit } from '../../../../src/proxy/policy/rule.ts';
import { createNodesQuota } from '../../../../src/agents/quota/nodes-quota.ts';
import type { Quota } from '../../../../src/agents/quota/quota.ts';
import { openPostgresStore } from '../../../../src/store/postgres.ts';
import { cutProxy } from '../../../support/cut-proxy.ts';
import { createDatabase, postgresMissing, postgresServer } from '../../../support/postgres.ts';
import { manualTime } from '../../lib/manual-time.ts';

const budget: RuleLimit = { kind: 'budget', key: 'rule-1', per: 'agent', requests: 10, bytes: null };
const bytes: RuleLimit = { kind: 'budget', key: 'rule-2', per: 'grant', requests: null, bytes: 1_000 };
const ci = { agent: 'ci', grant: 'grant-1' };

/** Nodes that share one database, and exchange when the test moves the time. */
async function nodes() {
  const database = await createDatabase();
  onTestFinished(() => database.drop());
  const access = { address: database.address, password: null };
  const proxy = await cutProxy((await postgresServer()).port);
  const behind = { ...access, address: { ...access.address, host: '127.0.0.1', port: proxy.port } };
  const time = manualTime(0);
  const clock = { now: time.now, after: (ms: number, run: () => void) => time.timers.after(ms, run) };
  /** Resolves when the database holds this many requests or bytes. */
  const holds = (column: 'used' | 'bytes', sum: number) =>
    expect
      .poll(async () => (await database.query(`select sum(${column})::int as sum from counts`)).rows[0]?.sum)
      .toBe(sum);
  return {
    open: async () => {
      const store = await openPostgresStore(behind, { now: Date.now });
      const quota = createNodesQuota(store.changeCounts!, store.location, clock);
      onTestFinished(async () => {
        await quota.close();
        await store.close();
      });
      return quota;
    },
    exchange: () => time.advance(250),
    holds,
    proxy,
    time,
  };
}

const take = (quota: Quota, limit = budget) => quota.take([limit], ci, Date.now()).ok;

function drain(quota: Quota): number {
  for (let got = 0; ; got += 1) if (!take(quota)) return got;
}

describe.skipIf(postgresMissing !== null)(`a quota of several nodes${postgresMissing ?? ''}`, () => {
  it('admits at most the limit, plus the requests that other nodes admit within one exchange', async () => {
    const { open, exchange, holds } = await nodes();
    const [a, b] = [await open(), await open()];
    for (let n = 0; n < 6; n += 1) expect(take(a)).toBe(true);
    await exchange();
    await holds('used', 6);
    // This node has not received the six of the other.
    expect(take(b)).toBe(true);
    await exchange();
    await holds('used', 7);
    await expect.poll(() => drain(b)).toBe(3);
    await exchange();
    await holds('used', 10);
    expect(drain(a)).toBe(4);
    await exchange();
    await holds('used', 14);
    await expect.poll(() => drain(a) + drain(b)).toBe(0);
  });

  it('charges the bytes of all nodes to one budget', async () => {
    const { open, exchange, holds } = await nodes();
    const [a, b] = [await open(), await open()];
    a.spend([bytes], ci, 900, Date.now());
    await exchange();
    await holds('bytes', 900);
    expect(b.spend([bytes], ci, 50, Date.now()).ok).toBe(true);
    await exchange();
    await holds('bytes', 950);
    await expect.poll(() => b.spend([bytes], ci, 51, Date.now()).ok).toBe(false);
  });

  it('refuses requests 5 s after the database becomes unavailable, and admits them when it is available again', async () => {
    const { open, exchange, proxy, time } = await nodes();
    const quota = await open();
    const many: RuleLimit = { ...budget, requests: 1_000 };
    proxy.cut();
    expect(take(quota, many)).toBe(true);
    await exchange();
    await time.advance(4_750);
    expect(take(quota, many)).toBe(true);
    await time.advance(1);
    expect(() => take(quota, many)).toThrow(expect.objectContaining({ code: 'store_unavailable' }));
    proxy.mend();
    await expect
      .poll(
        async () => {
          await time.advance(250);
          try {
            return take(quota, many);
          } catch {
            return false;
          }
        },
        { timeout: 10_000 },
      )
      .toBe(true);
  });

  it('reports its usage to the database when it closes', async () => {
    const { open, holds } = await nodes();
    const quota = await open();
    take(quota);
    await quota.close();
    await holds('used', 1);
  });
});
