import { openAuditLog, type OpenAuditLog } from './audit/log.ts';
import type { Config } from './config/config.ts';
import { openRegistry, type Registry } from './grants/registry.ts';
import type { Log } from './log.ts';
import { openSqliteStore } from './store/sqlite.ts';
import type { Store } from './store/store.ts';
import { keyCheckName, sealKeyCheck, verifyKeyCheck } from './vault/key-check.ts';
import { openVault } from './vault/open-vault.ts';
import type { Vault } from './vault/vault.ts';

/** What lies on disk, opened: the command line works on it, and so does the proxy. */
export interface State {
  readonly config: Config;
  readonly store: Store;
  readonly vault: Vault;
  readonly grants: Registry;
  readonly audit: OpenAuditLog;
  close(): Promise<void>;
}

/** What state is opened with. */
export interface StateParts {
  readonly log: Log;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

/**
 * Opens the store, the vault and the audit log of a config; makes what a first run has to make. The key is proved
 * against the store before anything is read or written with it.
 *
 * @throws what `openSqliteStore`, `openVault` and `openAuditLog` throw; SidekeyError `key_mismatch` for a wrong key
 */
export async function openState(config: Config, { log, now }: StateParts): Promise<State> {
  const store = await openSqliteStore(config.store.path, { now });
  try {
    const vault = await openProvedVault(config, store);
    const { file, maxBytes } = config.audit;
    const audit = await openAuditLog({ file, maxBytes, vault, now, logger: log });
    return {
      config,
      store,
      vault,
      grants: openRegistry({ store, vault, now }),
      audit,
      async close() {
        await audit.close();
        await store.close();
      },
    };
  } catch (error) {
    await store.close();
    throw error;
  }
}

/** A new key may be made only for a store that nothing was sealed for: no other key opens what one has sealed. */
async function openProvedVault(config: Config, store: Store): Promise<Vault> {
  const check = await store.meta.get(keyCheckName);
  const vault = await openVault(config.key, { mayCreate: check === null, store: store.location });
  if (check === null) await store.meta.putIfAbsent(keyCheckName, sealKeyCheck(vault));
  const proof = check ?? (await store.meta.get(keyCheckName));
  if (proof !== null) verifyKeyCheck(vault, proof, store.location);
  return vault;
}
