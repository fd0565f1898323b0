import { stat } from 'node:fs/promises';
import type { Config } from './config/config.ts';
import { grantOf } from './grants/grant-record.ts';
import type { Grant } from './grants/grant.ts';
import type { Registry } from './grants/registry.ts';
import { openSqliteStore } from './store/sqlite.ts';
import type { Store } from './store/store.ts';
import type { Vault } from './vault/vault.ts';

/** What lies on disk, opened to be looked at: nothing is made, no key and no audit file is needed to list things. */
export interface View {
  readonly config: Config;
  /** Null: there is no store yet. */
  readonly store: Store | null;
  /** All grants, in order of name, then user; none where there is no store. */
  readonly grants: () => Promise<readonly Grant[]>;
  /**
   * The vault, proved against the store, for who must see inside a grant. Null: nothing was ever sealed.
   * Rejects with SidekeyError `key_invalid`, `key_mismatch`, `permissions_unsafe`, `secret_missing`.
   */
  readonly vault: () => Promise<Vault | null>;
  /** The grants with what is sealed in them; null as for `vault`. Rejects like it. */
  readonly registry: () => Promise<Registry | null>;
  close(): Promise<void>;
}

/**
 * Opens the store of a config for reading.
 *
 * @throws what `openSqliteStore` throws: a store that cannot be read is not taken for one that is not there
 */
export async function openView(config: Config, { now }: { readonly now: () => number }): Promise<View> {
  const store = (await isThere(config.store.path)) ? await openSqliteStore(config.store.path, { now }) : null;
  let vault: Promise<Vault | null> | undefined;
  const view: View = {
    config,
    store,
    grants: async () => (await store?.grants.list())?.map(grantOf) ?? [],
    vault: () => (vault ??= store === null ? Promise.resolve(null) : provedVault(config, store)),
    async registry() {
      const opened = await view.vault();
      if (store === null || opened === null) return null;
      const { openRegistry } = await import('./grants/registry.ts');
      return openRegistry({ store, vault: opened, now });
    },
    close: async () => store?.close(),
  };
  return view;
}

/** The log without the file it belongs to is a damaged store, as its opening says, and not a missing one. */
async function isThere(path: string): Promise<boolean> {
  const found = await Promise.all(
    [path, `${path}-wal`].map((file) =>
      stat(file).then(
        () => true,
        (error: NodeJS.ErrnoException) => error.code !== 'ENOENT' && error.code !== 'ENOTDIR',
      ),
    ),
  );
  return found.includes(true);
}

async function provedVault(config: Config, store: Store): Promise<Vault | null> {
  const [{ keyCheckName, verifyKeyCheck }, { openVault }] = await Promise.all([
    import('./vault/key-check.ts'),
    import('./vault/open-vault.ts'),
  ]);
  const check = await store.meta.get(keyCheckName);
  if (check === null) return null;
  const vault = await openVault(config.key, { mayCreate: false, store: store.location });
  verifyKeyCheck(vault, check, store.location);
  return vault;
}
