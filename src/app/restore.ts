import { sql } from 'kysely';
import { importAuthority } from '../ca/authority.ts';
import type { Config } from '../config/config.ts';
import { SidekeyError } from '../lib/errors.ts';
import { isoTime } from '../operations/format.ts';
import { rotateKey, type RotationResult } from '../operations/rotation.ts';
import type { BackupHead, BackupPart, RowCounts } from '../store/backup.ts';
import { metaOf, type Untyped } from '../store/copy.ts';
import { sqliteMigrations } from '../store/sqlite.ts';
import type { AgeKey } from '../store/vault/age.ts';
import { openKeySource } from '../store/vault/open.ts';
import { isRotating, keyNames } from '../store/vault/ring.ts';
import { partsOf, signatureOf, withCount } from './backup.ts';
import { keySourceOf } from './keys.ts';
import { type Keys, type KeysParts, newStoreKeys, placedKey, usedStoreKeys } from './restore-keys.ts';
import { changedRows, type RestoredGrants, rowWriter } from './restore-rows.ts';
import { openTables, type State } from './state.ts';

interface RestoreOptions {
  /** Absolute path. */
  readonly file: string;
  readonly key: AgeKey;
  /** Restores into a store in use: missing rows come back, and newer ones stay. */
  readonly replace: boolean;
  /** Older credentials replace newer ones, except those of revoked grants. */
  readonly rollBack: boolean;
  readonly env: NodeJS.ProcessEnv;
  readonly now: () => number;
  /** Called with the number of rows so far. */
  readonly onRows?: ((count: number) => void) | undefined;
}

export interface Restored extends RestoredGrants {
  readonly location: string;
  /** Time of the backup, in milliseconds since the epoch. */
  readonly made: number;
  readonly counts: RowCounts;
  /** True: the store was empty, and now has the whole backup. */
  readonly isNew: boolean;
  /** Nodes with a key of their own. They must join again, because any may have been revoked since. */
  readonly rejoin: readonly string[];
  /** Id of the backup's master key, if the store has retired it: any holder may have forged the backup. */
  readonly retiredKey: string | null;
}

/**
 * Restores a backup in one transaction: after a failure or a kill the store is as before. An empty store gets
 * all rows. A store in use gets only grants, with their policies: missing rights of callers were removed on
 * purpose. Proxies may run. A missing master key or CA is written before the commit.
 *
 * @throws SidekeyError `already_exists` if the store is in use and `replace` is not set; `input_invalid` if
 * it is another store, or the backup has other tables; errors of `partsOf`, the store, the vault and the CA
 */
export async function restore(config: Config, options: RestoreOptions): Promise<Restored> {
  const { file, key, env } = options;
  const parts = withCount(partsOf(file, key), options.onRows);
  // Before the store is opened, which creates a missing one.
  const { value: first } = await parts.next();
  if (first?.kind !== 'head')
    throw new SidekeyError('record_tampered', `${file} does not hold a whole backup.`, {
      hint: 'use another copy of the file, or an earlier backup; nothing was restored',
    });
  const { head } = first;
  checkSchema(head);
  const source = openKeySource(keySourceOf(config, { env }));
  const isForNode = config.key.source === 'node';
  const placed = isForNode ? null : await placedKey(config, source);
  /** Error of a key source or of the CA, which does not concern the store. */
  let outside: unknown = null;
  const tables = await openTables(config, env);
  try {
    const to = { ...options, head, config, placed, location: tables.location };
    const changes = await changesOf(tables.db as unknown as Untyped, parts, to);
    return await tables.db.transaction().execute(async (db) => {
      const { restored, keys } = await write(db as unknown as Untyped, changes, to);
      // Before the commit: a key or a CA without its store does no harm.
      await placeKeys(keys).catch((error: unknown) => (outside = error));
      if (outside !== null) throw outside;
      return restored;
    });
  } catch (error) {
    const meaning = error instanceof SidekeyError || error === outside ? error : tables.fault(error);
    if (typeof meaning !== 'string') throw meaning;
    throw new SidekeyError('store_unavailable', 'Another process wrote to the store meanwhile.', {
      hint: 'nothing was restored: run the command again',
      cause: error,
    });
  } finally {
    await parts.return(undefined);
    await tables.close();
  }

  async function placeKeys({ from, to }: Keys): Promise<void> {
    if (placed === null && !isForNode) await source.replace?.(to.current());
    if (head.ca === null) return;
    await importAuthority(config.ca.directory, head.ca, { from: from.vault, to: to.vault });
  }
}

/**
 * Records a restore in the state that was opened after it, which verified the key. If another key was in
 * place, rotates the store to it and returns the rotation. @throws as `rotateKey`
 */
export async function recordRestore(
  state: State,
  { made, isNew, written, newer }: Restored,
  { file, now }: Pick<RestoreOptions, 'file' | 'now'>,
): Promise<Pick<RotationResult, 'from' | 'to' | 'finished'> | null> {
  const what = isNew ? 'into an empty store' : `${written.length} written, ${newer.length} newer`;
  const reason = `${file} of ${isoTime(made)}: ${what}`;
  await state.audit.append({ event: 'store.restored', outcome: 'allow', reason });
  if (!isRotating(state.vault.generations)) return null;
  const parts = { next: null, retire: false, now, onProgress: () => {} };
  const { from, to, finished } = await rotateKey(state, parts);
  return { from, to, finished };
}

function checkSchema({ schema, version }: BackupHead): void {
  if (schema.join() === Object.keys(sqliteMigrations).join()) return;
  throw new SidekeyError('input_invalid', `Sidekey ${version} made the backup, with other tables.`, {
    hint: `restore with Sidekey ${version}; the next start of a later version brings the tables up to date`,
  });
}

interface Changes {
  readonly parts: AsyncIterable<BackupPart> | readonly BackupPart[];
  /** Titles of grants that are newer in the store; no part has them. */
  readonly newer: string[];
}

/**
 * Returns the parts that change a store in use. The others, nearly all, are read before the transaction, in
 * which no other process writes to SQLite. An empty store needs all parts.
 */
async function changesOf(
  db: Untyped,
  parts: AsyncIterable<BackupPart>,
  options: RestoreOptions & KeysParts,
): Promise<Changes> {
  const mine = await metaOf(db);
  const { replace, rollBack } = options;
  const newer: string[] = [];
  if (!mine.has(keyNames.check) || !replace) return { parts, newer };
  const changes: BackupPart[] = [];
  const theirs = new Map<string, Uint8Array>();
  let filter: ReturnType<typeof changedRows> | undefined;
  for await (const part of parts) {
    if (part.kind !== 'rows') changes.push(part);
    else if (part.table === 'meta') {
      changes.push(part);
      for (const { name, value } of part.rows) theirs.set(name as string, value as Uint8Array);
    } else {
      filter ??= changedRows(db, { keys: await usedStoreKeys(theirs, mine, options), rollBack, newer });
      const rows = await filter(part.table, part.rows);
      if (rows.length > 0) changes.push({ ...part, rows });
    }
  }
  return { parts: changes, newer };
}

async function write(
  db: Untyped,
  { parts, newer }: Changes,
  options: RestoreOptions & KeysParts,
): Promise<{ readonly restored: Restored; readonly keys: Keys }> {
  const { head, config, location, file, replace } = options;
  const isShared = config.store.kind === 'postgres';
  // A write first, to take the lock before any read. Caches of running processes reload the rights.
  await db
    .updateTable('revisions')
    .set((row) => ({ value: row('value', '+', 1) }))
    .execute();
  // Blocks a rotation of the master key, because grants are sealed with the current key.
  if (isShared) await sql`lock table meta in exclusive mode`.execute(db);
  const mine = await metaOf(db);
  const isNew = !mine.has(keyNames.check);
  if (!isNew && !replace) {
    throw new SidekeyError('already_exists', `There is a store at ${location}.`, {
      hint: 'to bring back grants that it lacks, run the command with --replace: what is newer stays as it is',
    });
  }
  const theirs = new Map<string, Uint8Array>();
  let opened: { readonly keys: Keys; readonly rows: ReturnType<typeof rowWriter> } | undefined;
  for await (const part of parts) {
    // Rows of `meta` come first.
    if (part.kind === 'rows' && part.table === 'meta') {
      for (const { name, value } of part.rows) theirs.set(name as string, value as Uint8Array);
      continue;
    }
    if (opened === undefined) {
      const keys = isNew ? await newStoreKeys(theirs, options) : await usedStoreKeys(theirs, mine, options);
      const values = [...theirs].map(([name, value]) => ({ name, value }));
      if (isNew) await db.insertInto('meta').values(values).execute();
      opened = { keys, rows: rowWriter(db, { ...options, keys, isNew, isShared, newer }) };
    }
    const { keys, rows } = opened;
    if (part.kind === 'rows') await rows.write(part.table, part.rows);
    else if (part.kind === 'end' && part.mac === signatureOf(keys.from, part)) {
      const { keyId } = keys.from.vault;
      const isRetired = keys.to.vault.generations.some((it) => it.keyId === keyId && it.retiredAt !== null);
      const restored = {
        location,
        made: head.made,
        counts: part.counts,
        isNew,
        rejoin: keys.rejoin,
        ...rows.grants(),
        retiredKey: isRetired ? keyId : null,
      };
      return { restored, keys };
    }
  }
  throw new SidekeyError('record_tampered', `${file} was not made with the master key that it holds.`, {
    hint: 'somebody else wrote the file: use another backup; nothing was restored',
  });
}
