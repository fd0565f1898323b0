import type { StoredHead, HeadStore } from '../../../src/audit/sealed-heads.ts';

/** The ends of chains in memory, as the conformance suite wants them kept. */
export function endStoreForTest(): HeadStore {
  const kept = new Map<string, StoredHead>();
  return {
    location: 'store',
    auditHeads: {
      list: async (log) => [...kept.values()].filter((end) => log === undefined || end.log === log),
      async put(end) {
        const key = JSON.stringify([end.log, end.node]);
        if ((kept.get(key)?.seq ?? 0) < end.seq) kept.set(key, end);
      },
    },
  };
}
