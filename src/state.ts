import { attributed } from './audit/attributed.ts';
import type { AuditEvent, Origin } from './audit/event.ts';
import { openAuditLog, type OpenAuditLog } from './audit/log.ts';
import type { Config } from './config/config.ts';
import { createActivityNotes, type ActivityNotes } from './grants/activity.ts';
import { openRegistry, type Registry } from './grants/registry.ts';
import { systemTimers } from './grants/timers.ts';
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
  readonly activity: ActivityNotes;
  close(): Promise<void>;
}

/** What state is opened with. */
export interface StateParts {
  readonly log: Log;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Who does whatever is done with it, for the events of it; left out: many do, and each event says itself. */
  readonly origin?: Origin | undefined;
}

/**
 * Opens the store, the vault and the audit log of a config; makes what a first run has to make. The key is proved
 * against the store before anything is read or written with it.
 *
 * @throws what `openSqliteStore`, `openVault` and `openAuditLog` throw; SidekeyError `key_mismatch` for a wrong key
 */
export async function openState(config: Config, { log, now, origin }: StateParts): Promise<State> {
  const store = await openSqliteStore(config.store.path, { now });
  try {
    const made: AuditEvent[] = [];
    const vault = await openProvedVault(config, store, made);
    const { file, maxBytes, maxAgeMs, fsync } = config.audit;
    const opened = await openAuditLog({ file, maxBytes, maxAgeMs, fsync, vault, store, now, logger: log });
    const audit = origin === undefined ? opened : attributed(opened, origin);
    // No event can go before: the log is sealed with the key. But nothing is sealed for the store before this.
    for (const event of made) await audit.append(event);
    const activity = createActivityNotes({ store, now, timers: systemTimers });
    return {
      config,
      store,
      vault,
      grants: openRegistry({ store, vault, now }),
      audit,
      activity,
      async close() {
        await activity.close();
        await audit.close();
        await store.close();
      },
    };
  } catch (error) {
    await store.close();
    throw error;
  }
}

/** Tells `made` what it made. A new key may be made only for a store that nothing was sealed for: no other key opens what one has sealed. */
async function openProvedVault(config: Config, store: Store, made: AuditEvent[]): Promise<Vault> {
  const check = await store.meta.get(keyCheckName);
  let isNewKey = false;
  const vault = await openVault(config.key, {
    mayCreate: check === null,
    store: store.location,
    onCreate: () => (isNewKey = true),
  });
  if (isNewKey) made.push({ event: 'key.created', reason: `master key ${vault.keyId}` });
  if (check === null && (await store.meta.putIfAbsent(keyCheckName, sealKeyCheck(vault)))) {
    made.push({ event: 'store.created', reason: `sealed with the master key ${vault.keyId}` });
  }
  const proof = check ?? (await store.meta.get(keyCheckName));
  if (proof !== null) verifyKeyCheck(vault, proof, store.location);
  return vault;
}
