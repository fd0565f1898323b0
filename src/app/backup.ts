import { type KeyObject, randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type FileHandle, link, open, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { ReadableStream } from 'node:stream/web';
import { noLinks } from '../audit/live-file.ts';
import { exportAuthority } from '../ca/authority.ts';
import { isSystemError, SidekeyError, systemCode } from '../lib/errors.ts';
import { syncFolder } from '../lib/os.ts';
import {
  type BackupHead,
  type BackupPart,
  type BackupSum,
  readParts,
  rowsOf,
  writeLines,
} from '../store/backup.ts';
import { metaOf, type Row, type StoreTables, type Table, type Untyped } from '../store/copy.ts';
import { sqliteMigrations } from '../store/sqlite.ts';
import { type AgeKey, type AgeLock, openWithAge, sealWithAge } from '../store/vault/age.ts';
import { withBytes } from '../store/vault/key-source.ts';
import { type KeyRing, openKeyRing, valuesIn } from '../store/vault/ring.ts';
import type { State } from './state.ts';

interface BackupOptions {
  /** Absolute path. */
  readonly file: string;
  readonly lock: AgeLock;
  /** Replaces an existing file. */
  readonly force: boolean;
  readonly version: string;
  readonly now: () => number;
  /** Called with the number of rows so far. */
  readonly onRows?: ((count: number) => void) | undefined;
}

/** A backup that was written and read again. */
interface Backup extends BackupSum {
  readonly bytes: number;
  readonly keyId: string;
  readonly hasAuthority: boolean;
}

/**
 * Writes a backup of a store: its rows at one moment, its master key, and the CA. Other processes read and
 * write meanwhile. The file appears once it was read back and compared.
 *
 * @throws SidekeyError `file_unwritable`, `already_exists`, `input_invalid`; errors of store and vault
 */
export async function backUp(state: State, tables: StoreTables, options: BackupOptions): Promise<Backup> {
  const { file, lock, force } = options;
  const draft = join(dirname(file), `.${basename(file)}.${randomUUID()}`);
  try {
    const handle = await open(draft, 'wx', 0o600);
    let written: Omit<Backup, 'bytes'> & { readonly key: AgeKey };
    try {
      written = await writeDraft(handle, state, tables, options);
      await handle.sync();
    } finally {
      await handle.close();
    }
    const { key, ...backup } = written;
    await check(draft, key, backup);
    const { size: bytes } = await stat(draft);
    const to = 'passphrase' in lock ? 'a passphrase' : lock.recipients.join(' ');
    // Before the file has its name: no backup without a line in the log.
    await state.audit.append({
      event: 'store.backed_up',
      outcome: 'allow',
      reason: `${file}, sealed for ${to}`,
    });
    await (force ? rename(draft, file) : nameDraft(draft, file));
    await syncFolder(dirname(file)).catch(() => undefined);
    return { ...backup, bytes };
  } catch (cause) {
    if (cause instanceof SidekeyError) throw cause;
    if (isSystemError(cause, 'EEXIST'))
      throw new SidekeyError('already_exists', `${file} exists.`, {
        hint: 'give another path, or --force to replace the file',
        cause,
      });
    const isOfFile = cause instanceof Error && 'syscall' in cause && fileCalls.has(cause.syscall);
    const fault = isOfFile ? null : tables.fault(cause);
    if (fault !== null) throw typeof fault === 'string' ? cause : fault;
    throw new SidekeyError(
      'file_unwritable',
      `The backup ${file} cannot be written (${systemCode(cause)}).`,
      { hint: 'name a file in a folder that you can write to, on a disk with space', cause },
    );
  } finally {
    await rm(draft, { force: true });
  }
}

/** Renames a draft. Rejects with `EEXIST` if a file has the name. */
async function nameDraft(draft: string, file: string): Promise<void> {
  try {
    await link(draft, file);
  } catch (error) {
    if (!isSystemError(error, ...noLinks)) throw error;
    // A rename replaces an existing file, so an empty file reserves the name first.
    const taken = await open(file, 'wx', 0o600);
    await taken.close();
    await rename(draft, file);
  }
}

/** System calls on the file that fail on a full disk or a missing folder. */
const fileCalls: ReadonlySet<unknown> = new Set(['open', 'write', 'fsync', 'link', 'rename']);

async function writeDraft(
  handle: FileHandle,
  { config, keys }: State,
  tables: StoreTables,
  { lock, version, now, onRows }: BackupOptions,
): Promise<Omit<Backup, 'bytes'> & { readonly key: AgeKey }> {
  // Before the rows: if a rotation begins in between, this key still opens them.
  const held = keys.current();
  const sealCa = await exportAuthority(config.ca.directory);
  const lines = Promise.withResolvers<AsyncIterable<Buffer>>();
  // Before the transaction: a passphrase takes a second, and an idle transaction blocks PostgreSQL's vacuum.
  const { stream, key } = await sealWithAge(ReadableStream.from<Uint8Array>(later(lines.promise)), lock);
  // SQLite has one isolation level, and ignores the setting.
  const snapshot = tables.db.transaction().setIsolationLevel('repeatable read');
  return snapshot.execute(async (typed) => {
    const db = typed as unknown as Untyped;
    const ring = await openRing(held, await metaOf(db), tables.location, now);
    const ca = sealCa(ring.vault);
    const head: BackupHead = {
      made: now(),
      version,
      store: tables.location,
      schema: Object.keys(sqliteMigrations),
      key: withBytes(ring.current(), (bytes) => bytes.toString('base64')),
      ca,
    };
    let sum: BackupSum | undefined;
    lines.resolve(
      writeLines(head, withCount(rowsOf(db), onRows), (whole) => {
        sum = whole;
        return signatureOf(ring, whole);
      }),
    );
    for await (const chunk of stream) await handle.writeFile(chunk);
    return { ...sum!, key, keyId: ring.vault.keyId, hasAuthority: ca !== null };
  });
}

/** Calls `onRows` with the number of rows so far. */
export async function* withCount<Part extends readonly [Table, readonly Row[]] | BackupPart>(
  parts: AsyncIterable<Part>,
  onRows: (count: number) => void = () => {},
): AsyncGenerator<Part> {
  let count = 0;
  for await (const part of parts) {
    if (!('kind' in part)) count += part[1].length;
    else if (part.kind === 'rows') count += part.rows.length;
    yield part;
    onRows(count);
  }
}

async function* later<T>(values: Promise<AsyncIterable<T>>): AsyncGenerator<T> {
  yield* await values;
}

/** Reads the file again, and compares it with the written rows. */
async function check(file: string, key: AgeKey, { digest }: BackupSum): Promise<void> {
  let end: BackupPart | undefined;
  for await (const part of partsOf(file, key)) end = part;
  if (end?.kind === 'end' && end.digest === digest) return;
  throw new SidekeyError('file_unwritable', `The backup at ${file} is not what was written.`, {
    hint: 'check the disk, and write the backup to another one',
  });
}

/** Reads the parts of a backup file. @throws as `openWithAge` and `readParts`; errors of the file system */
export function partsOf(file: string, key: AgeKey): AsyncGenerator<BackupPart> {
  const bytes = Readable.toWeb(createReadStream(file)) as globalThis.ReadableStream<Uint8Array>;
  return readParts(openWithAge(bytes, key, file), file);
}

/** Returns the authentication code of a backup: only a holder of its master key can make one. */
export function signatureOf(
  { vault }: Pick<KeyRing, 'vault'>,
  { digest }: Pick<BackupSum, 'digest'>,
): string {
  // The current key: the store's first key may be retired.
  return vault.generations[0]!.mac('backup', digest);
}

/** Opens the ring of master keys in `values`. Changes are written to them. */
export function openRing(
  key: KeyObject,
  values: Map<string, Uint8Array>,
  location: string,
  now: () => number,
): Promise<KeyRing> {
  return openKeyRing(key, { values: valuesIn(values), location, now, self: null });
}
