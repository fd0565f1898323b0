/**
 * Cost of a limit for a request: without a limit, counted in memory, and counted in the file that the
 * processes of a machine share. The blocks are timed turn by turn, and each figure is the best of its blocks;
 * read the ratios.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { RuleLimit } from '../../src/proxy/policy/rule.ts';
import { createMemoryQuota } from '../support/memory-quota.ts';
import type { QuotaKey, Quota } from '../../src/agents/quota/quota.ts';
import { createSharedQuota } from '../../src/agents/quota/shared-quota.ts';

const { values } = parseArgs({ options: { smoke: { type: 'boolean', default: false } } });
const [rounds, requests] = values.smoke ? [1, 100] : [15, 2_000];

const rate: RuleLimit = { kind: 'rate', key: 'r', per: 'agent', count: 1e6, perMs: 1_000, burst: 1e6 };
const empty: RuleLimit = { kind: 'rate', key: 'e', per: 'agent', count: 1, perMs: 86_400_000, burst: 1 };
const day: RuleLimit = { kind: 'budget', key: 'd', per: 'grant', requests: 1e9, bytes: 1e15 };

/** The n-th asker: one of 16 agents. */
const who = (n: number): QuotaKey => ({ agent: `agent-${n % 16}`, grant: 'grant-1' });

const folder = mkdtempSync(join(tmpdir(), 'sidekey-bench-'));
const path = join(folder, 'quota.db');
const memory = createMemoryQuota();
const shared = createSharedQuota(path);
const another = createSharedQuota(path);
try {
  const take =
    (limits: readonly RuleLimit[], ...quotas: readonly Quota[]) =>
    async () => {
      for (let n = 0; n < requests; n += 1) {
        quotas[n % quotas.length]!.take(limits, who(n), Date.now());
      }
    };
  const spend = (quota: Quota) => () => {
    for (let n = 0; n < requests; n += 1) quota.spend([day], who(n), 1_000, Date.now());
  };
  const subjects: readonly (readonly [name: string, work: () => Promise<void> | void])[] = [
    ['no limit', take([], shared)],
    ['memory, one rate', take([rate], memory)],
    ['memory, a rate and a budget', take([rate, day], memory)],
    ['file, one rate', take([rate], shared)],
    ['file, a rate and a budget', take([rate, day], shared)],
    ['file, refused', take([empty], shared)],
    ['file, two connections in turn', take([rate], shared, another)],
    ['file, bytes of a response', spend(shared)],
  ];
  const best = new Map<string, number>();
  for (let round = 0; round < rounds; round += 1) {
    for (const [name, work] of subjects) {
      const start = performance.now();
      await work();
      const cost = ((performance.now() - start) * 1_000) / requests;
      best.set(name, Math.min(cost, best.get(name) ?? Infinity));
    }
  }
  const inMemory = best.get('memory, one rate')!;
  for (const [name, cost] of best) {
    console.log(
      `${name.padEnd(32)} ${cost.toFixed(2).padStart(8)} µs  ${(cost / inMemory).toFixed(1).padStart(6)} ×`,
    );
  }
} finally {
  for (const quota of [shared, another]) quota.close();
  rmSync(folder, { recursive: true });
}
