import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { createSharedQuota } from '../../src/agents/quota/shared-quota.ts';
import { quotaConformance, type QuotaUnderTest } from './quota.ts';
import type { Quota } from '../../src/agents/quota/quota.ts';

async function open(connections: number): Promise<QuotaUnderTest> {
  const folder = await mkdtemp(join(tmpdir(), 'sidekey-'));
  const path = join(folder, 'data', 'sidekey-quota.db');
  const opened = Array.from({ length: connections }, () => createSharedQuota(path));
  let turn = 0;
  const next = () => opened[(turn += 1) % opened.length]!;
  const quota: Quota = {
    take: (...args) => next().take(...args),
    spend: (...args) => next().spend(...args),
    close: () => opened.forEach((it) => it.close()),
  };
  return {
    quota,
    counts() {
      if (!existsSync(path)) return 0;
      const database = new DatabaseSync(path, { readOnly: true });
      const { count } = database.prepare('select count(*) as count from counts').get()!;
      database.close();
      return Number(count);
    },
    async cleanup() {
      quota.close();
      await rm(folder, { recursive: true });
    },
  };
}

quotaConformance('a shared file', () => open(1));
quotaConformance('a shared file with three connections in turn', () => open(3));
