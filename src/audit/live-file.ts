import { createHash } from 'node:crypto';
import fs from 'node:fs';
import { z } from 'zod';
import { isSystemError } from '../lib/errors.ts';
import type { Generation, Vault } from '../store/vault/vault.ts';
import type { ChainMac } from './line.ts';
import { piecesOf, readPiece } from './piece.ts';
import {
  checkLogFile,
  disk,
  type DiskCalls,
  fileId,
  fileIdAt,
  rotatedAs,
  rotatedFiles,
  rotatedName,
  syncFolder,
  tryLockFile,
} from './log-files.ts';
import { plainReader, readBackwards } from './reader.ts';

/** The file that several writers append to, as one of them opened it. Identified by id, not only by name. */
export class LiveFile {
  readonly id: string;
  /** Number that the file has or will have after its rotation. */
  readonly number: number;
  readonly #path: string;
  readonly #fd: number;
  readonly #calls: DiskCalls;
  /** True while the name of the file is not durable. */
  #isNew: boolean;
  #syncing: Promise<void> = Promise.resolve();

  /**
   * Opens (or creates, 0600) the file at `path`.
   * @throws SidekeyError `permissions_unsafe`, `file_unwritable`; errors of the file system as they are.
   */
  constructor(path: string, calls: DiskCalls) {
    const fd = fs.openSync(path, 'a+', 0o600);
    try {
      checkLogFile(path, fs.fstatSync(fd));
    } catch (error) {
      fs.closeSync(fd);
      throw error;
    }
    this.#path = path;
    this.#fd = fd;
    this.#calls = calls;
    this.id = fileId(fs.fstatSync(fd, { bigint: true })) ?? '';
    // In this order: a file that is rotated in between is found among the rotated ones.
    const next = (rotatedFiles(path).at(-1)?.number ?? 0) + 1;
    this.number = rotatedAs(path, this.id)?.number ?? next;
    this.#isNew = fs.fstatSync(fd).size === 0;
  }

  /** Returns the size; undefined if the path no longer names this file. */
  sizeInPlace(): number | undefined {
    const stats = fs.statSync(this.#path, { bigint: true, throwIfNoEntry: false });
    return stats !== undefined && fileId(stats) === this.id ? Number(stats.size) : undefined;
  }

  /** Returns the size; undefined if the file has no name, so that its content is lost. */
  sizeWhereNamed(): number | undefined {
    const { nlink, size } = fs.fstatSync(this.#fd);
    return nlink === 0 ? undefined : size;
  }

  /** Returns the time of the first line in milliseconds since the epoch; undefined if it cannot be read. */
  begunAt(): number | undefined {
    const start = Buffer.alloc(128);
    const read = fs.readSync(this.#fd, start, 0, start.length, 0);
    const time = Date.parse(/"time":"([^"]*)"/.exec(start.toString('latin1', 0, read))?.[1] ?? '');
    return Number.isNaN(time) ? undefined : time;
  }

  /** Appends; returns the number of bytes written. */
  append(bytes: Uint8Array): number {
    return this.#calls.write(this.#fd, bytes);
  }

  /**
   * Returns the offset of bytes that were appended while the file grew from `before` to `after` bytes; others
   * may have appended too. Undefined if the file system does not append atomically.
   */
  find(bytes: Uint8Array, before: number, after: number): number | undefined {
    const since = Buffer.alloc(after - before);
    const read = fs.readSync(this.#fd, since, 0, since.length, before);
    const at = since.subarray(0, read).indexOf(bytes);
    return at === -1 ? undefined : before + at;
  }

  /** Reports whether the byte before `end` is a newline. */
  endsLineAt(end: number): boolean {
    if (end === 0) return true;
    const oneByte = Buffer.alloc(1);
    fs.readSync(this.#fd, oneByte, 0, 1, end - 1);
    return oneByte[0] === 0x0a;
  }

  /** Counts the bytes of the line before `end` that its writers left torn because they died. */
  tornBytesAt(end: number, mac: ChainMac): number {
    const { size } = fs.fstatSync(this.#fd);
    for (const { bytes, at } of readBackwards(plainReader(this.#fd), size)) {
      if (at >= end) continue;
      return piecesOf(bytes)
        .filter((piece) => readPiece(piece, mac).kind !== 'line')
        .reduce((sum, piece) => sum + piece.length, 0);
    }
    return 0;
  }

  /** Makes appended text durable. */
  sync(): Promise<void> {
    // Syncs are serialised so that close() waits for all: the number of a closed descriptor may be reused.
    this.#syncing = this.#syncing
      .catch(() => undefined)
      .then(async () => {
        await this.#calls.sync(this.#fd);
        if (this.#isNew) syncFolder(this.#path);
        this.#isNew = false;
      });
    return this.#syncing;
  }

  /** Syncs and closes. */
  async close(): Promise<void> {
    try {
      await this.sync();
    } finally {
      fs.closeSync(this.#fd);
    }
  }
}

/**
 * Rotates `file` if it still has this `id` and no other process rotates it. Returns the new path; undefined
 * if another writer rotates or has rotated it. Never overwrites a file. If interrupted, leaves both names,
 * and the next rotation completes it.
 */
export function rotate(file: string, id: string): string | undefined {
  using lock = tryLockFile(`${file}.rotate.lock`);
  if (lock === undefined) return undefined;
  if (fileIdAt(file) !== id) return undefined;
  const newest = rotatedFiles(file).at(-1);
  if (newest !== undefined && fileIdAt(newest.path) === id) {
    fs.unlinkSync(file);
    return newest.path;
  }
  const target = rotatedName(file, (newest?.number ?? 0) + 1);
  try {
    fs.linkSync(file, target);
  } catch (error) {
    if (!isSystemError(error, ...noLinks) || fs.existsSync(target)) throw error;
    fs.renameSync(file, target);
    return target;
  }
  fs.unlinkSync(file);
  return target;
}

/** Errors of file systems without hard links (FAT, some network and user-space ones). */
export const noLinks = ['EPERM', 'ENOSYS', 'ENOTSUP', 'EOPNOTSUPP', 'EMLINK'];

/**
 * The head file, `<file>.head`, records how far the chain of each writer was written, so that a cut end of
 * the log is found. It has one record of a fixed size per slot, overwritten some milliseconds after a line.
 *
 * After a kill, a record may be behind the log; the chain shows the later lines, unless exactly these were
 * cut. After a power cut, it may be ahead by unsynced lines, which are lost and reported. Each record also
 * counts the slots that ever had one, so that removing a chain together with its record is found. Restoring a
 * log together with its own older head file is not found: that takes the heads in the store, or an anchor.
 */

/** Bytes of a record: one disk sector, so that a power cut leaves the old record or the new one. */
export const headSize = 512;

/** The content of a record. */
interface Head {
  /** Name of the chain. A slot keeps it when the host name changes. */
  readonly node: string;
  /** The last line; 0 and `genesis` before the first one. */
  readonly seq: number;
  readonly hash: string;
  /** See `ChainHead`. */
  readonly end?: string | undefined;
  /** True if the writer has closed; the log then has no later line of this chain. */
  readonly closed: boolean;
  /** Id of the log in the store, see `logIdOf`. */
  readonly log?: string | undefined;
  /** Number of slots with a record when this one was written. Absent: one, or unknown. */
  readonly slots?: number | undefined;
  /** Id of the master key of the line, if it is not the key of the record. */
  readonly lineKey?: string | undefined;
}

const shape = z.strictObject({
  v: z.literal(1),
  node: z.string(),
  seq: z.int().min(0),
  hash: z.string(),
  end: z.string().optional(),
  closed: z.boolean(),
  log: z.string().optional(),
  slots: z.int().optional(),
  line_key: z.string().optional(),
  key: z.string(),
});

/** A record as read: never written, authentic, of another master key, or changed. */
export type HeadRecord =
  | { readonly kind: 'none' }
  | { readonly kind: 'head'; readonly head: Head; readonly key: Generation }
  | { readonly kind: 'other-key'; readonly keyId: string }
  | { readonly kind: 'broken' };

export function headFile(file: string): string {
  return `${file}.head`;
}

export function encodeHead(
  { node, seq, hash, end, closed, log, slots = 1, lineKey }: Head,
  vault: AuditVault,
): Buffer {
  const head = {
    v: 1,
    node,
    seq,
    hash,
    end,
    closed,
    log,
    slots: slots > 1 ? slots : undefined,
    line_key: lineKey === vault.keyId ? undefined : lineKey,
  };
  const record = Buffer.alloc(headSize, ' ');
  record.write(sealLine(head, 'audit-head', vault), 'latin1');
  record.write('\n', headSize - 1);
  return record;
}

export function decodeHead(record: Uint8Array, vault: AuditVault): HeadRecord {
  if (record.every((byte) => byte === 0)) return { kind: 'none' };
  const [, line = ''] = /^(\{.*\}) *\n$/.exec(Buffer.from(record).toString('latin1')) ?? [];
  const unsealed = unsealLine(line, 'audit-head', vault);
  if (unsealed.kind !== 'authentic') return unsealed;
  const read = shape.safeParse(unsealed.value);
  if (!read.success) return { kind: 'broken' };
  const { v: _v, key: _key, line_key: lineKey, ...head } = read.data;
  return { kind: 'head', head: { ...head, ...(lineKey !== undefined && { lineKey }) }, key: unsealed.key };
}

export function highestSlot(records: readonly HeadRecord[]): number {
  return Math.max(0, ...records.map((record) => (record.kind === 'head' ? (record.head.slots ?? 0) : 0)));
}

/**
 * Returns the id of a log in the store, derived from the machine and the path where the log was begun. A
 * moved or copied log keeps its id.
 * @param file Absolute.
 * @param host The name of this machine.
 */
export function logIdOf(file: string, host: string, records: readonly HeadRecord[]): string {
  const known = records.find((record) => record.kind === 'head' && record.head.log !== undefined);
  if (known?.kind === 'head' && known.head.log !== undefined) return known.head.log;
  return createHash('sha256').update(`${host}\0${file}`).digest('base64url').slice(0, 16);
}

/** Reads all records, slot 1 first; none if there is no file. */
export function readHeads(file: string, vault: AuditVault): HeadRecord[] {
  let records = decodeAll(file, vault);
  // A read during a write may see half of a record: only a record that stays broken is broken.
  for (let again = 0; again < 3 && records.some(({ kind }) => kind === 'broken'); again += 1) {
    records = decodeAll(file, vault);
  }
  return records;
}

function decodeAll(file: string, vault: AuditVault): HeadRecord[] {
  let bytes: Buffer;
  try {
    bytes = fs.readFileSync(headFile(file));
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return [];
    throw error;
  }
  const records: HeadRecord[] = [];
  for (let at = 0; at < bytes.length; at += headSize) {
    records.push(decodeHead(bytes.subarray(at, at + headSize), vault));
  }
  return records;
}

/** The record of one slot, open for writing. */
export type HeadWriter = ReturnType<typeof openHead>;

/** Opens (or creates, 0600) the head file for the record of `slot`. Its `Head.slots` never decreases. */
export function openHead(file: string, slot: number, vault: AuditVault, calls: DiskCalls = disk) {
  const path = headFile(file);
  const fd = fs.openSync(path, fs.constants.O_RDWR | fs.constants.O_CREAT, 0o600);
  const id = fileId(fs.fstatSync(fd, { bigint: true }));
  let slots = highestSlot(readHeads(file, vault));
  let size = 0;
  /** Returns the number of slots. The file grows if other writers take slots meanwhile. */
  function slotsNow(): number {
    const now = fs.fstatSync(fd).size;
    if (now !== size || slots * headSize < now) {
      const records = readHeads(file, vault);
      const empty = records.findIndex(({ kind }) => kind === 'none');
      slots = Math.max(slots, empty === -1 ? records.length : empty);
      size = now;
    }
    return slots;
  }
  return {
    /** Passes the record to the operating system. */
    write(head: Head): void {
      const record = encodeHead({ ...head, slots: slotsNow() }, vault);
      const written = calls.writeAt(fd, record, (slot - 1) * headSize);
      if (written !== headSize)
        throw new Error(`Only ${written} of ${headSize} bytes of a head record were written.`);
    },
    /** Makes the record durable, and for a new file also its name. */
    sync(isNew: boolean): void {
      fs.fdatasyncSync(fd);
      if (isNew) syncFolder(path);
    },
    /** Reports whether the path still names this file. */
    inPlace: () => fileIdAt(path) === id,
    close: () => fs.closeSync(fd),
  };
}

/** The part of the vault that the log uses. */
export type AuditVault = Pick<Vault, 'mac' | 'keyId' | 'generations'>;

/** The purpose of a seal; each has its own key. */
type SealPurpose = 'audit-head' | 'audit-anchor' | 'audit-retention' | 'audit-end';

/** A sealed line as read: authentic, of another master key, or changed. */
type Unsealed =
  | { readonly kind: 'authentic'; readonly value: unknown; readonly key: Generation }
  | { readonly kind: 'other-key'; readonly keyId: string }
  | { readonly kind: 'broken' };

/** Seals JSON as one line without newline. Its last fields: master key id, keyed hash of the text before. */
export function sealLine(value: object, purpose: SealPurpose, vault: AuditVault): string {
  const text = `${JSON.stringify(value).slice(0, -1)},"key":"${vault.keyId}"`;
  return `${text},"mac":"${vault.mac(purpose, text)}"}`;
}

/** Reads a line of `sealLine`, even with an earlier key. Hashes the text as read, without serialising it. */
export function unsealLine(line: string, purpose: SealPurpose, vault: AuditVault): Unsealed {
  const [, text = '', keyId = '', mac] =
    /^(\{.*,"key":"([^"\\]*)"),"mac":"([0-9a-f]{64})"\}$/s.exec(line) ?? [];
  if (mac === undefined) return { kind: 'broken' };
  const key = vault.generations.find((each) => each.keyId === keyId);
  if (key === undefined) return { kind: 'other-key', keyId };
  if (key.mac(purpose, text) !== mac) return { kind: 'broken' };
  return { kind: 'authentic', value: JSON.parse(`${text}}`), key };
}
