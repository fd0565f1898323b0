import fs from 'node:fs';
import { z } from 'zod';
import type { Vault } from '../vault/vault.ts';
import { disk, type DiskCalls, fileId, syncFolder } from './files.ts';
import type { ChainHead } from './line.ts';

/**
 * What retention removed, sealed, beside the log in `<file>.retained`: how far the chains went in the files that are gone,
 * so that the first file that is kept continues from a line that is known. Who has no key cannot make one, and with an
 * older one the lines removed since are missed: files that somebody else deletes are never taken for removed by retention.
 */

/** What was removed so far. */
export interface RetentionRecord {
  /** The number of the last rotated file that was removed; 0: none was. */
  readonly removed: number;
  /** When, in ISO 8601. */
  readonly time: string;
  /** The last removed line of each node. */
  readonly chains: ReadonlyMap<string, ChainHead>;
}

/** The record as read: none yet, one that is authentic, one of another master key, or one that was changed. */
export type RetentionState =
  | { readonly kind: 'none' }
  | { readonly kind: 'record'; readonly record: RetentionRecord }
  | { readonly kind: 'other-key'; readonly keyId: string }
  | { readonly kind: 'broken' };

/** Nothing was removed. */
export const nothingRemoved: RetentionRecord = { removed: 0, time: '', chains: new Map() };

/** The path of the record of a log. */
export function retentionFile(file: string): string {
  return `${file}.retained`;
}

const shape = z.object({
  v: z.literal(1),
  removed: z.int().min(0),
  time: z.string(),
  chains: z.array(
    z.strictObject({
      node: z.string(),
      seq: z.int().min(0),
      hash: z.string(),
      end: z.string().optional(),
    }),
  ),
});

/** Reads the record of a log. */
export function readRetention(file: string, vault: AuditVault): RetentionState {
  let text: string;
  try {
    text = fs.readFileSync(retentionFile(file), 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { kind: 'none' };
    throw error;
  }
  const unsealed = unsealLine(text.replace(/\n$/, ''), 'audit-retention', vault);
  if (unsealed.kind !== 'authentic') return unsealed;
  const read = shape.safeParse(unsealed.value);
  if (!read.success) return { kind: 'broken' };
  const { removed, time, chains } = read.data;
  const links = chains.map(({ node, ...link }): [string, ChainHead] => [node, link]);
  return { kind: 'record', record: { removed, time, chains: new Map(links) } };
}

/** Puts the record in the place of the one before, durably: a crash leaves the one or the other. */
export function writeRetention(
  file: string,
  { removed, time, chains }: RetentionRecord,
  vault: AuditVault,
): void {
  const links = Array.from(chains, ([node, { seq, hash, end }]) => ({ node, seq, hash, end }));
  const line = sealLine({ v: 1, removed, time, chains: links }, 'audit-retention', vault);
  const next = `${retentionFile(file)}.new`;
  fs.rmSync(next, { force: true });
  const fd = fs.openSync(next, 'wx', 0o600);
  try {
    fs.writeSync(fd, `${line}\n`);
    fs.fsyncSync(fd);
  } finally {
    fs.closeSync(fd);
  }
  fs.renameSync(next, retentionFile(file));
  syncFolder(file);
}

/**
 * A JSON object on a line of its own that only who has the master key can have written: its last fields are the id of that
 * key and a keyed hash over all before. Pure.
 */

/** What a seal is for; each has a key of its own. */
type SealPurpose = 'audit-anchor' | 'audit-retention' | 'audit-end';

/** A line as read: what was sealed, one of another master key, or one that was changed. */
type Unsealed =
  | { readonly kind: 'authentic'; readonly value: unknown }
  | { readonly kind: 'other-key'; readonly keyId: string }
  | { readonly kind: 'broken' };

/** The line of `value`, without its newline. */
export function sealLine(value: object, purpose: SealPurpose, vault: AuditVault): string {
  const text = `${JSON.stringify(value).slice(0, -1)},"key":"${vault.keyId}"`;
  return `${text},"mac":"${vault.mac(purpose, text)}"}`;
}

/** Reads what `sealLine` made. The hash is made over the text as it stands: nothing is serialized again. */
export function unsealLine(line: string, purpose: SealPurpose, vault: AuditVault): Unsealed {
  const [, text = '', keyId = '', mac] =
    /^(\{.*,"key":"([^"\\]*)"),"mac":"([0-9a-f]{64})"\}$/s.exec(line) ?? [];
  if (mac === undefined) return { kind: 'broken' };
  if (keyId !== vault.keyId) return { kind: 'other-key', keyId };
  if (vault.mac(purpose, text) !== mac) return { kind: 'broken' };
  return { kind: 'authentic', value: JSON.parse(`${text}}`) };
}

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

/** Bytes of a record: one disk sector, so that a power cut leaves the old one or the new one. */
export const headSize = 512;

/** What a record says. */
interface Head {
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
export function highestSlot(records: readonly HeadRecord[]): number {
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
  const id = fileId(fs.fstatSync(fd, { bigint: true }));
  let slots = highestSlot(readHeads(file, vault));
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
    inPlace: () => fileId(fs.statSync(path, { bigint: true, throwIfNoEntry: false })) === id,
    close: () => fs.closeSync(fd),
  };
}
