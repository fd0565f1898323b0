import type { EndRecord, EndStore } from '../../../src/audit/stored-ends.ts';

/** The ends of chains in memory, as the conformance suite wants them kept. */
export function endStoreForTest(): EndStore {
  const kept = new Map<string, EndRecord>();
  return {
    location: 'store',
    auditEnds: {
      list: async (log) => [...kept.values()].filter((end) => end.log === log),
      async put(end) {
        const key = JSON.stringify([end.log, end.node]);
        if ((kept.get(key)?.seq ?? 0) < end.seq) kept.set(key, end);
      },
    },
  };
}
