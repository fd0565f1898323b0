import { stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { AuditEvent, Origin } from '../domain/event.ts';
import { withOrigin, openAuditLog } from '../audit/log.ts';
import type { Config } from '../config/config.ts';
import { readSecret } from '../config/secret-reference.ts';
import { type StoreConfig, storeName } from '../config/store-place.ts';
import { type ActivityNotes, createActivityNotes } from '../grants/activity.ts';
import { openRegistry } from '../grants/registry.ts';
import type { SidekeyError } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import type { PostgresAccess } from '../lib/postgres.ts';
import { systemTimers } from '../lib/timers.ts';
import { followClock } from '../lib/wall-clock.ts';
import type { StoreTables } from '../store/copy.ts';
import { copyIdOf } from '../store/node-id.ts';
import type { Store } from '../store/store.ts';
import type { Opened, Reading } from '../operations/operation.ts';
import { type OpenVault, openVault } from '../store/vault/open.ts';
import { keyNames, sealKeyCheck, verifyKeyCheck } from '../store/vault/ring.ts';
import type { Vault } from '../store/vault/vault.ts';
import { followKeys } from './follow-keys.ts';
import { keySourceOf } from './keys.ts';

/** Open store, vault and audit log of a config, for the proxy and the command line. */
export interface State extends Opened {
  /** Source and key ring of the vault, for a rotation. */
  readonly keys: OpenVault;
  readonly activity: ActivityNotes;
  close(): Promise<void>;
}

export interface StateParts {
  readonly log: Log;
  readonly now: () => number;
  /** Environment of `env:` references. Default: that of the process. */
  readonly env?: NodeJS.ProcessEnv | undefined;
  /** Origin of all events; absent: events have their own. */
  readonly origin?: Origin | undefined;
}

/**
 * Opens the store, the vault and the audit log of a config, and creates them on the first run. Verifies the
 * key against the store before it reads or writes anything with it.
 *
 * @throws errors of `openStore`, `openVault` and `openAuditLog`; SidekeyError `key_mismatch` for a wrong key
 */
export async function openState(config: Config, { log, now, env, origin }: StateParts): Promise<State> {
  // `openAuditLog` reports a log that cannot be read.
  const hasLog = stat(config.audit.file).then(
    ({ size }) => size > 0,
    () => false,
  );
  const isLost = !(await isThere(config.store)) && (await hasLog);
  const unguarded = await openStore(config, { now, env });
  let revoked: SidekeyError | null = null;
  const store: Store = {
    ...unguarded,
    epoch() {
      // Invalidates everything that was read before.
      if (revoked !== null) throw revoked;
      return unguarded.epoch();
    },
  };
  if (isLost) {
    log.warn(
      { store: store.location },
      'the store is missing, and its audit log exists: a new store without grants was made; restore yours from a backup',
    );
  }
  try {
    const made: AuditEvent[] = [];
    const keys = await openVerifiedVault(config, { store, now, env }, made);
    const { vault } = keys;
    const { file, maxBytes, maxAgeMs, fsync } = config.audit;
    await vault.refresh();
    const grants = openRegistry({ store, vault, now, cacheBytes: config.limits.cached_grants });
    const opened = await openAuditLog({ file, maxBytes, maxAgeMs, fsync, vault, store, now, logger: log });
    const audit = origin === undefined ? opened : withOrigin(opened, origin);
    // The log is sealed with the key, so it opens after the key. Nothing was sealed for the store before.
    for (const event of made) await audit.append(event);
    const stopFollowing = await followKeys(
      { config, store, vault, keys, audit },
      { log, now, env: env ?? process.env, onRevoked: (error) => (revoked = error) },
    );
    const activity = createActivityNotes({ store, now, timers: systemTimers });
    return {
      config,
      store,
      vault,
      keys,
      grants,
      audit,
      activity,
      async close() {
        await stopFollowing();
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

/**
 * Opens the store of a config, and creates a missing one. Loads only the module of its kind.
 *
 * @throws errors of `openSqliteStore` or `openPostgresStore`
 */
export async function openStore(
  { file, store }: Pick<Config, 'file' | 'store'>,
  { now, env }: Pick<StateParts, 'now' | 'env'>,
): Promise<Store> {
  if (store.kind === 'sqlite') {
    const { openSqliteStore } = await import('../store/sqlite.ts');
    return openSqliteStore(store.path, { now });
  }
  const { openPostgresStore } = await import('../store/postgres.ts');
  const { connections } = store;
  return openPostgresStore(accessOf({ file, store }, env), { now, connections, onTime: followClock });
}

/** Opens the tables of the store of a config. @throws as `openSqliteStore` and `openPostgresStore` */
export async function openTables(
  { file, store }: Pick<Config, 'file' | 'store'>,
  env: NodeJS.ProcessEnv,
): Promise<StoreTables> {
  return store.kind === 'sqlite'
    ? (await import('../store/sqlite.ts')).openSqliteTables(store.path)
    : (await import('../store/postgres.ts')).openPostgresTables(accessOf({ file, store }, env));
}

function accessOf(
  { file, store }: { readonly file: string; readonly store: Extract<StoreConfig, { kind: 'postgres' }> },
  env: NodeJS.ProcessEnv = process.env,
): PostgresAccess {
  const { address, password } = store;
  const options = { env, cwd: dirname(file), where: 'store.password' };
  return { address, password: password === null ? null : () => readSecret(password, options) };
}

interface Opening {
  readonly store: Store;
  readonly env?: NodeJS.ProcessEnv | undefined;
  readonly now: () => number;
}

/** Adds an event to `made` for each created thing. Creates a key only for a store without sealed records. */
async function openVerifiedVault(config: Config, opening: Opening, made: AuditEvent[]): Promise<OpenVault> {
  const { meta, location } = opening.store;
  let isNewKey = false;
  const keys = await openVault(keySourceOf(config, { env: opening.env ?? process.env }), {
    mayCreate: (await meta.get(keyNames.check)) === null,
    store: location,
    meta,
    now: opening.now,
    nodeId: copyIdOf(config),
    onCreate: () => (isNewKey = true),
  });
  const { keyId } = keys.vault;
  if (isNewKey) made.push({ event: 'key.created', reason: `master key ${keyId}` });
  if (await meta.putIfAbsent(keyNames.check, sealKeyCheck(keys.vault)))
    made.push({ event: 'store.created', reason: `sealed with the master key ${keyId}` });
  // Another process may have created the store meanwhile, with another key.
  else verifyKeyCheck(keys.vault, (await meta.get(keyNames.check)) ?? new Uint8Array(), location);
  return keys;
}

/** Store of a config, opened to read: creates nothing. Listing grants needs neither key nor audit file. */
export interface View
  extends AsyncDisposable, Pick<Reading, 'store' | 'vault' | 'vaultWithoutStore' | 'registry'> {
  readonly config: Config;
  close(): Promise<void>;
}

/**
 * Opens the store of a config for reading.
 *
 * @throws errors of `openStore`: an unreadable store is not a missing one
 */
export async function openView(config: Config, parts: Pick<StateParts, 'now' | 'env'>): Promise<View> {
  const { now, env } = parts;
  const store = (await isThere(config.store)) ? await openStore(config, parts) : null;
  let vault: Promise<Vault | null> | undefined;
  const view: View = {
    ...viewWithoutStore(config, parts),
    store,
    vault: () =>
      (vault ??= store === null ? Promise.resolve(null) : verifiedVault(config, { store, now, env })),
    async registry() {
      const opened = await view.vault();
      if (store === null || opened === null) return null;
      const { openRegistry } = await import('../grants/registry.ts');
      return openRegistry({ store, vault: opened, now });
    },
    close: async () => store?.close(),
    [Symbol.asyncDispose]: async () => store?.close(),
  };
  return view;
}

/** Returns the view of a config whose store is missing, or cannot be read. */
export function viewWithoutStore(
  config: Config,
  { now, env = process.env }: Pick<StateParts, 'now' | 'env'>,
): View {
  const opening = { mayCreate: false, store: storeName(config.store), meta: null, now, nodeId: null };
  return {
    config,
    store: null,
    vault: async () => null,
    vaultWithoutStore: async () => (await openVault(keySourceOf(config, { env }), opening)).vault,
    registry: async () => null,
    close: async () => {},
    [Symbol.asyncDispose]: async () => {},
  };
}

/**
 * Reports a write-ahead log without its database as present, so that opening it reports the damage. A
 * database of PostgreSQL is always present, because a person created it.
 */
async function isThere(store: Config['store']): Promise<boolean> {
  if (store.kind === 'postgres') return true;
  const { path } = store;
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

async function verifiedVault(
  config: Config,
  { store, now, env = process.env }: Opening,
): Promise<Vault | null> {
  const { meta, location } = store;
  if ((await meta.get(keyNames.check)) === null) return null;
  const source = keySourceOf(config, { env });
  return (await openVault(source, { mayCreate: false, store: location, meta, now, nodeId: copyIdOf(config) }))
    .vault;
}
