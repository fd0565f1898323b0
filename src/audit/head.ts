/**
 * Head records: how far each writer's chain was written, kept beside the log in `<file>.head`, so that a cut of the
 * log's end is found. One record of a fixed size per slot, written in place after every batch.
 *
 * A record is never ahead of the log when the process dies, at worst behind (then the chain itself shows the lines
 * beyond it). After a power cut it may be ahead by the lines that were not yet synced: they are lost, and reported.
 * Each record also says how many slots had one, so that a writer's whole chain cannot go unseen together with its record
 * while another's is there. What it cannot find is an older log put back together with its own older head: lines have to
 * be shipped elsewhere for that.
 */
import fs from 'node:fs';
import type { Vault } from '../vault/vault.ts';
import { disk, type DiskCalls } from './disk.ts';
import { idOf, syncFolder } from './log-files.ts';

/** Bytes of a record: one disk sector, so that a power cut leaves the old one or the new one. */
export const headSize = 512;

/** What a record says. */
export interface Head {
  /** The writer whose chain it is. A slot keeps its name, whatever the machine is called later. */
  readonly node: string;
  /** The last line; 0 and `genesis` before the first. */
  readonly seq: number;
  readonly hash: string;
  /** See `Link`. */
  readonly end?: string | undefined;
  /** Whether the writer closed, so that the log has no line of it beyond this record. */
  readonly closed: boolean;
  /** So many slots, from the first on, had a record when this one was written. Left out: one, or it is not known. */
  readonly slots?: number | undefined;
}

/** A record as read: none yet, one that is authentic, one of another master key, or one that was changed. */
export type HeadRecord =
  | { readonly kind: 'none' }
  | { readonly kind: 'head'; readonly head: Head }
  | { readonly kind: 'other-key'; readonly keyId: string }
  | { readonly kind: 'broken' };

/** What the log asks of the vault. */
export type AuditVault = Pick<Vault, 'mac' | 'keyId'>;

/** The path of the head records of a log. */
export function headFile(file: string): string {
  return `${file}.head`;
}

/** The bytes of a record. */
export function encodeHead(head: Head, vault: AuditVault): Buffer {
  const slots = (head.slots ?? 1) > 1 ? `,"slots":${head.slots}` : '';
  const end = head.end === undefined ? '' : `,"end":"${head.end}"`;
  const text = `{"v":1,"node":${JSON.stringify(head.node)},"seq":${head.seq},"hash":"${head.hash}"${end},"closed":${head.closed}${slots},"key":"${vault.keyId}"`;
  const record = Buffer.alloc(headSize, ' ');
  record.write(`${text},"mac":"${vault.mac('audit-head', text)}"}`, 'latin1');
  record.write('\n', headSize - 1);
  return record;
}

/** Reads one record. */
export function decodeHead(record: Uint8Array, vault: AuditVault): HeadRecord {
  if (record.every((byte) => byte === 0)) return { kind: 'none' };
  const text = Buffer.from(record).toString('latin1');
  const shape =
    /^(\{"v":1,"node":"([^"\\]*)","seq":(\d+),"hash":"([0-9a-f]{64})"(?:,"end":"(\d+:\d+)")?,"closed":(true|false)(?:,"slots":(\d+))?,"key":"([^"\\]*)"),"mac":"([0-9a-f]{64})"\} *\n$/.exec(
      text,
    );
  if (shape === null) return { kind: 'broken' };
  const [, signed = '', node = '', seq = '', hash = '', end, closed, slots, keyId = '', mac] = shape;
  if (keyId !== vault.keyId) return { kind: 'other-key', keyId };
  if (vault.mac('audit-head', signed) !== mac) return { kind: 'broken' };
  const told = slots === undefined ? {} : { slots: Number(slots) };
  const placed = end === undefined ? {} : { end };
  return {
    kind: 'head',
    head: { node, seq: Number(seq), hash, ...placed, closed: closed === 'true', ...told },
  };
}

/** How many slots had a record at some time, as far as the records say. */
export function slotsEver(records: readonly HeadRecord[]): number {
  return records.reduce(
    (most, record) => Math.max(most, record.kind === 'head' ? (record.head.slots ?? 0) : 0),
    0,
  );
}

/** All records, slot 1 first. Empty where the file does not exist. */
export function readHeads(file: string, vault: AuditVault): HeadRecord[] {
  let records = decodeAll(file, vault);
  // A read beside a write may see half of each: a record that stays broken is broken.
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
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
  const records: HeadRecord[] = [];
  for (let at = 0; at < bytes.length; at += headSize) {
    records.push(decodeHead(bytes.subarray(at, at + headSize), vault));
  }
  return records;
}

/** A slot's place in the head file, open for writing. */
export interface HeadWriter {
  /** Writes the record to the operating system. */
  write(head: Head): void;
  /** Makes it durable; the file's name too, where the file is `fresh`. */
  sync(fresh: boolean): void;
  /** Whether the file is still the one at its path. */
  inPlace(): boolean;
  close(): void;
}

/** Opens (and makes, 0600) the head file for the record of `slot`. What its records say of `Head.slots` is never taken back. */
export function openHead(file: string, slot: number, vault: AuditVault, calls: DiskCalls = disk): HeadWriter {
  const path = headFile(file);
  const fd = fs.openSync(path, fs.constants.O_RDWR | fs.constants.O_CREAT, 0o600);
  const id = idOf(fs.fstatSync(fd, { bigint: true }));
  let slots = slotsEver(readHeads(file, vault));
  let size = 0;
  /** Others take slots while this one is held; a file that has not grown has no more of them. */
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
    write(head) {
      const record = encodeHead({ ...head, slots: slotsNow() }, vault);
      const written = calls.writeAt(fd, record, (slot - 1) * headSize);
      if (written !== headSize)
        throw new Error(`Only ${written} of ${headSize} bytes of a head record were written.`);
    },
    sync(fresh) {
      fs.fdatasyncSync(fd);
      if (fresh) syncFolder(path);
    },
    inPlace: () => idOf(fs.statSync(path, { bigint: true, throwIfNoEntry: false })) === id,
    close: () => fs.closeSync(fd),
  };
}
