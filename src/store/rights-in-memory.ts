import type { Rights, Store } from './store.ts';

const wrapped = new WeakMap<Store, Store>();

/** Returns the store with rights that are read again only after a write: they are five queries. */
export function withRightsInMemory(store: Store): Store {
  const before = wrapped.get(store);
  if (before !== undefined) return before;
  let last: { readonly rights: Promise<Rights>; readonly epoch: number } | null = null;
  const made: Store = {
    ...store,
    rights: {
      ...store.rights,
      async read() {
        // Read before the rows: after a change in between, they count as old, never as new.
        const epoch = store.epoch();
        if (last?.epoch !== epoch) last = { rights: store.rights.read(), epoch };
        return last.rights.catch((error: unknown) => {
          last = null;
          throw error;
        });
      },
    },
  };
  wrapped.set(store, made);
  return made;
}
