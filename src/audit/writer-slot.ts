import fs from 'node:fs';
import { hostname } from 'node:os';
import { SidekeyError } from '../lib/errors.ts';
import { shellWord } from '../lib/text.ts';
import {
  type AuditVault,
  headFile,
  type HeadRecord,
  type HeadWriter,
  highestSlot,
  logIdOf,
  openHead,
  readHeads,
} from './live-file.ts';
import { type ChainHead, chainMac, formatEnd, genesis } from './line.ts';
import { piecesOf, readPiece } from './piece.ts';
import { disk, type DiskCalls, type FileLock, snapshotLog, tryLockFile } from './log-files.ts';
import { openSource, readBackwards } from './reader.ts';
import { PackedDamage } from './packed.ts';
import { readRetention } from './sealed-heads.ts';

/** Concurrent writers of one log. */
const maxSlots = 256;

/**
 * A slot for one of the concurrent writers of a log. A writer takes the first free slot (1, 2, 3 …) until
 * it ends, and continues the chain of that slot, so that no writer waits for another.
 */
interface WriterSlot {
  readonly slot: number;
  /** The name of the chain. */
  readonly node: string;
  /** The last line of the chain. */
  readonly last: ChainHead;
  /** Id of the key of that line. */
  readonly keyId: string;
  /** Sentences about faults of the head record, to be written to the log. */
  readonly findings: readonly string[];
  /** Sentence; set if the log ends before the head in the store, from which the chain then continues. */
  readonly behind: string | undefined;
  /** Writes the head record. `keyId` identifies the key of the line. */
  record(last: ChainHead, keyId: string): void;
  /** Reports whether the lock is still held and the head file still at its path. */
  held(): boolean;
  /** Releases the slot. With `last`, first records that the chain ends there. */
  release(last?: ChainHead, keyId?: string): void;
}

/** A log whose slots are opened. */
interface SlotLog {
  readonly file: string;
  readonly host: string;
  readonly vault: AuditVault;
  readonly calls: DiskCalls;
  /** The last line of each node by the store. */
  readonly stored: ReadonlyMap<string, ChainHead>;
}

/**
 * Takes a slot and finds the end of its chain.
 * @param host The first part of the node's name (`<host>/<slot>`), if the slot has no chain yet.
 * @throws SidekeyError `key_mismatch` for a log of another key; `audit_unavailable` if no slot is free.
 */
export function claimSlot(
  file: string,
  host: string,
  vault: AuditVault,
  options: Partial<Pick<SlotLog, 'calls' | 'stored'>> & { readonly only?: number | undefined } = {},
): WriterSlot {
  const { calls = disk, stored = new Map<string, ChainHead>(), only } = options;
  for (let slot = only ?? 1; slot <= (only ?? maxSlots); slot += 1) {
    const lock = tryLockFile(`${file}.${slot}.lock`);
    if (lock === undefined) continue;
    return openSlot({ file, host, vault, calls, stored }, slot, lock);
  }
  if (only !== undefined) throw new SidekeyError('audit_unavailable', `Slot ${only} is in use.`);
  const sentence = `More than ${maxSlots} processes write to the audit log ${file}.`;
  throw new SidekeyError('audit_unavailable', sentence, {
    hint: 'end some of them, or set another file in audit.file for a part of them',
  });
}

function openSlot(slotLog: SlotLog, slot: number, lock: FileLock): WriterSlot {
  const { file, host, vault, calls } = slotLog;
  let head: HeadWriter | undefined;
  try {
    const isNewFile = !fs.existsSync(headFile(file));
    const records = readHeads(file, vault);
    const record = records[slot - 1] ?? { kind: 'none' };
    const isNewSlot = record.kind === 'none' && highestSlot(records) < slot;
    head = openHead(file, slot, vault, calls);
    const log = logIdOf(file, host, records);
    const chain = recover(slotLog, `${plainHost(host)}/${slot}`, isNewSlot ? null : record);
    const writer = head;
    const write = ({ seq, hash, end }: ChainHead, lineKey: string, closed: boolean) =>
      writer.write({ node: chain.node, seq, hash, end, closed, log, lineKey });
    // Durable before the first line: after a power cut, a record marked `closed` would hide that line.
    write(chain.last, chain.keyId, false);
    writer.sync(isNewFile);
    return {
      slot,
      ...chain,
      record: (last, keyId) => write(last, keyId, false),
      held: () => lock.held() && writer.inPlace(),
      release(last, keyId = chain.keyId) {
        try {
          if (last !== undefined) {
            write(last, keyId, true);
            writer.sync(false);
          }
        } finally {
          writer.close();
          lock.release();
        }
      },
    };
  } catch (error) {
    head?.close();
    lock.release();
    throw error;
  }
}

/**
 * Updates the head records of dead writers before retention removes their lines: a writer that is killed
 * right after a line leaves an older record. A record older than earlier removals was restored, and stays:
 * `verifyAudit` reports it. A running writer writes its record itself.
 */
export function completeHeads(
  file: string,
  vault: AuditVault,
  before: ReadonlyMap<string, ChainHead>,
  removed: ReadonlyMap<string, ChainHead>,
): void {
  for (const [index, record] of readHeads(file, vault).entries()) {
    if (record.kind !== 'head' || record.head.closed) continue;
    const { node, seq } = record.head;
    if (seq < (before.get(node)?.seq ?? 0) || seq >= (removed.get(node)?.seq ?? 0)) continue;
    const lock = tryLockFile(`${file}.${index + 1}.lock`);
    if (lock === undefined) continue;
    const log = { file, host: hostname(), vault, calls: disk, stored: new Map<string, ChainHead>() };
    const slot = openSlot(log, index + 1, lock);
    slot.release(slot.last);
  }
}

type Recovered = Pick<WriterSlot, 'node' | 'last' | 'keyId' | 'findings' | 'behind'>;

/**
 * Finds the end of a chain from its head record and the store or, if these lack it, from the log.
 *
 * @param newNode the name of the chain, if the record does not have it
 * @param record null: the slot never had one, as far as is known
 */
function recover({ file, vault, stored }: SlotLog, newNode: string, record: HeadRecord | null): Recovered {
  if (record?.kind === 'other-key') {
    throw new SidekeyError(
      'key_mismatch',
      `The audit log ${file} was written with another master key (${record.keyId}) than this one (${vault.keyId}).`,
      {
        hint: `Use that key again, or move the old log away: mkdir old-audit && mv ${shellWord(file)}* old-audit/`,
      },
    );
  }
  if (record?.kind === 'head') {
    const { node, seq, hash, end, closed } = record.head;
    // A head ahead of the log stays: the chain that continues from it shows the missing lines for ever. A
    // chain that continued from the end of the file would hide a cut.
    const inStore = stored.get(node);
    const known = inStore !== undefined && inStore.seq > seq ? inStore : { seq, hash, end };
    const found = closed && known.seq === seq ? undefined : newestLine(file, node, vault, known.seq);
    const isNewer = found !== undefined && found.seq !== known.seq;
    const last = isNewer ? found : { ...known, end: known.end ?? found?.end };
    const isBehind = found === undefined && known.seq > seq;
    const keyId =
      isNewer && found.keyId !== undefined ? found.keyId : (record.head.lineKey ?? record.key.keyId);
    return { node, last, keyId, findings: [], behind: isBehind ? logBehind(node, known) : undefined };
  }
  const { keyId } = vault;
  const node = newNode;
  const known = stored.get(node);
  const found = newestLine(file, node, vault, known?.seq ?? 0);
  const retention = readRetention(file, vault);
  const removed = retention.kind === 'record' ? retention.record.chains.get(node) : undefined;
  const first = { seq: 0, hash: genesis };
  if (record === null && found === undefined && removed === undefined && known === undefined)
    return { node, last: first, keyId, findings: [], behind: undefined };
  if (known !== undefined && found === undefined && known.seq > (removed?.seq ?? 0))
    return { node, last: known, keyId, findings: [], behind: logBehind(node, known) };
  const state = record?.kind === 'broken' ? 'damaged' : 'gone';
  const finding = `The head record of ${node} was ${state}: lines before this one may have been cut unseen.`;
  return {
    node,
    last: found ?? removed ?? first,
    keyId: found?.keyId ?? keyId,
    findings: [finding],
    behind: undefined,
  };
}

function logBehind(node: string, { seq }: ChainHead): string {
  return `The store names line ${seq} of ${node}, and the log ends before it: lines were removed, or an older copy of the log was restored. "sidekey audit verify" tells which, and "sidekey audit verify --accept" records that they are gone.`;
}

/** Finds the last authentic line of `node` with at least this `seq`. */
function newestLine(
  file: string,
  node: string,
  vault: AuditVault,
  minSeq: number,
): (ChainHead & { readonly keyId: string | undefined }) | undefined {
  const mac = chainMac(vault);
  const name = Buffer.from(`"node":"${node}"`);
  for (const source of snapshotLog(file).toReversed()) {
    using reader = openSource(file, source);
    if (reader === undefined) continue;
    try {
      for (const { bytes, at } of readBackwards(reader, Math.min(source.size, reader.size()))) {
        if (!bytes.includes(name)) continue;
        for (const piece of piecesOf(bytes).toReversed()) {
          const read = readPiece(piece, mac);
          if (read.kind !== 'line' || read.node !== node || read.seq < minSeq) continue;
          const to = at + piece.byteOffset - bytes.byteOffset + piece.length;
          const end = formatEnd(source.number, to);
          return { seq: read.seq, hash: read.hash, end, keyId: vault.generations[read.age ?? 0]?.keyId };
        }
      }
    } catch (error) {
      // `verifyAudit` reports a damaged packed file; it must not stop the next writer.
      if (!(error instanceof PackedDamage)) throw error;
    }
  }
  return undefined;
}

/** Returns a host name without quotes and spaces, of bounded length, for the name of a node. */
function plainHost(host: string): string {
  return host.replaceAll(/[^\w.-]/g, '-').slice(0, 100) || 'local';
}
