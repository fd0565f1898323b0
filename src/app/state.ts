import { stat } from 'node:fs/promises';
import type { AuditEvent, Origin } from '../audit/event.ts';
import { withOrigin, openAuditLog, type OpenAuditLog } from '../audit/log.ts';
import type { Config } from '../config/config.ts';
import { type ActivityNotes, createActivityNotes } from '../grants/activity.ts';
import type { Grant } from '../grants/grant.ts';
import { grantOf, openRegistry, type Registry } from '../grants/registry.ts';
import type { Log } from '../lib/log.ts';
import { systemTimers } from '../lib/timers.ts';
import { createPlaceholderCodes, type PlaceholderCodes } from '../placeholders/codes.ts';
import { openSqliteStore } from '../store/sqlite.ts';
import type { Store } from '../store/store.ts';
import { keyCheckName, openVault, sealKeyCheck, type Vault, verifyKeyCheck } from '../vault/vault.ts';

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
    const audit = origin === undefined ? opened : withOrigin(opened, origin);
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

/** The codes of everybody who has this vault's key: what one process makes, all others know. */
export function placeholderCodes(vault: Pick<Vault, 'mac'>): PlaceholderCodes {
  return createPlaceholderCodes((text) => vault.mac('placeholder', text));
}

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
      const { openRegistry } = await import('../grants/registry.ts');
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
    import('../vault/vault.ts'),
    import('../vault/vault.ts'),
  ]);
  const check = await store.meta.get(keyCheckName);
  if (check === null) return null;
  const vault = await openVault(config.key, { mayCreate: false, store: store.location });
  verifyKeyCheck(vault, check, store.location);
  return vault;
}
