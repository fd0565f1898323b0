import { createMemoryQuota } from '../support/memory-quota.ts';
import { quotaConformance } from './quota.ts';

quotaConformance('memory', () => {
  const quota = createMemoryQuota();
  return { quota, counts: () => quota.size, cleanup: () => quota.close() };
});
