import type { GrantRecord, Store } from '../store/store.ts';
import type { Grant } from './grant.ts';
import { grantOf } from './grant-record.ts';
import { matches } from './select-grant.ts';

/** All grants of the store at one moment, still sealed. */
export interface Snapshot {
  readonly grants: readonly Grant[];
  record(id: string): GrantRecord | null;
  find(reference: string): readonly Grant[];
}

/** The last snapshot, for as long as the store says that nothing has changed. */
export interface Snapshots {
  /** Null where the store has changed since, or was never read. Costs one `Store.epoch`. */
  current(): Snapshot | null;
  /** A snapshot that is not older than this call. */
  load(): Promise<Snapshot>;
  /** Forgets the snapshot, and what a load that is under way will bring. */
  drop(): void;
}

/** Reads nothing before it is asked. */
export function createSnapshots(store: Store): Snapshots {
  let known: { readonly snapshot: Snapshot; readonly epoch: number } | null = null;
  let drops = 0;
  let loading: Promise<Snapshot> | null = null;

  function current(): Snapshot | null {
    return known !== null && known.epoch === store.epoch() ? known.snapshot : null;
  }

  async function read(): Promise<Snapshot> {
    for (;;) {
      const begun = drops;
      // Asked before the rows: a change in between makes the snapshot count as old, never as new.
      const epoch = store.epoch();
      const snapshot = snapshotOf(await store.grants.list());
      if (begun !== drops) continue;
      known = { snapshot, epoch };
      return snapshot;
    }
  }

  function start(): Promise<Snapshot> {
    const begun = read().finally(() => {
      if (loading === begun) loading = null;
    });
    loading = begun;
    return begun;
  }

  return {
    current,
    async load() {
      if (loading !== null) {
        // It may have read its rows before this call; its answer counts only while nothing has changed.
        await loading.catch(() => null);
        const snapshot = current();
        if (snapshot !== null) return snapshot;
      }
      return loading ?? start();
    },
    drop() {
      drops += 1;
      known = null;
    },
  };
}

function snapshotOf(records: readonly GrantRecord[]): Snapshot {
  const byId = new Map(records.map((record) => [record.id, record]));
  const grants = records.map(grantOf);
  const found = new Map<string, readonly Grant[]>();
  return {
    grants,
    record: (id) => byId.get(id) ?? null,
    find(reference) {
      let candidates = found.get(reference);
      if (candidates === undefined) {
        candidates = grants.filter((grant) => matches(grant, reference));
        // References come from the config: few. What matches nothing is not kept, so that callers cannot fill this.
        if (candidates.length > 0) found.set(reference, candidates);
      }
      return candidates;
    },
  };
}
