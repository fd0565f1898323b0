/**
 * A writer's place among those that write to the same log at once. Each takes the first free slot (1, 2, 3 …) for its
 * life and carries on the chain of that slot, so that no writer ever waits for another.
 */
import fs from 'node:fs';
import { SidekeyError } from '../lib/errors.ts';
import { shellWord } from '../lib/text.ts';
import { disk, type DiskCalls, type FileLock, snapshotLog, tryLockFile } from './log-files.ts';
import { openSource, PackedDamage, readBackwards } from './reader.ts';
import { type ChainMac, formatEnd, genesis, type ChainHead, piecesOf, readPiece } from './line.ts';
import {
  type AuditVault,
  headFile,
  type HeadRecord,
  type HeadWriter,
  highestSlot,
  openHead,
  readHeads,
} from './head-file.ts';
import { readRetention } from './sealed-heads.ts';

/** Writers at once. */
const slots = 256;

/** A slot that is taken. */
interface WriterSlot {
  readonly slot: number;
  /** The name of the chain. */
  readonly node: string;
  /** The last line of the chain, from which to write on. */
  readonly last: ChainHead;
  /** What was wrong with the head record, in sentences: to be recorded in the log itself. */
  readonly findings: readonly string[];
  /** A sentence, where the log ends before the end that the store has. The chain goes on from that one. */
  readonly behind: string | undefined;
  /** Records how far the chain is written. */
  record(last: ChainHead): void;
  /** Whether the slot is still this writer's alone, and its head record where others look for it. */
  held(): boolean;
  /** Records that nothing was written after `last`, and makes the slot free. Without `last`: gives up the slot as it is. */
  release(last?: ChainHead): void;
}

/**
 * Takes a slot and finds the end of its chain.
 * @param host The first part of the node's name (`<host>/<slot>`), where the slot has no chain yet.
 * @param stored The last line of each node by what the store says.
 * @throws SidekeyError `key_mismatch` where the log belongs to another master key; `audit_unavailable` where no
 * slot is free.
 */
export function claimSlot(
  file: string,
  host: string,
  vault: AuditVault,
  calls: DiskCalls = disk,
  stored: ReadonlyMap<string, ChainHead> = new Map(),
): WriterSlot {
  for (let slot = 1; slot <= slots; slot += 1) {
    const lock = tryLockFile(`${file}.${slot}.lock`);
    if (lock === undefined) continue;
    let head: HeadWriter | undefined;
    try {
      const isNew = !fs.existsSync(headFile(file));
      const records = readHeads(file, vault);
      const record = records[slot - 1] ?? { kind: 'none' };
      const isFirst = record.kind === 'none' && highestSlot(records) < slot;
      head = openHead(file, slot, vault, calls);
      const chain = recover(file, `${plainHost(host)}/${slot}`, isFirst ? null : record, vault, stored);
      return ownSlot(slot, lock, head, chain, isNew);
    } catch (error) {
      head?.close();
      lock.release();
      throw error;
    }
  }
  throw new SidekeyError('audit_unavailable', `More than ${slots} processes write to the audit log ${file}.`);
}

function ownSlot(
  slot: number,
  lock: FileLock,
  head: HeadWriter,
  { node, last: begin, findings, behind }: Recovered,
  isNew: boolean,
): WriterSlot {
  const record = ({ seq, hash, end }: ChainHead, closed: boolean) =>
    head.write({ node, seq, hash, end, closed });
  // Durable before the first line: after a power cut, a record that still says `closed` would hide that line.
  record(begin, false);
  head.sync(isNew);
  return {
    slot,
    node,
    last: begin,
    findings,
    behind,
    record: (last) => record(last, false),
    held: () => lock.held() && head.inPlace(),
    release(last) {
      try {
        if (last !== undefined) {
          record(last, true);
          head.sync(false);
        }
      } finally {
        head.close();
        lock.release();
      }
    },
  };
}

/** The end of a slot's chain, and what was found to be wrong. */
type Recovered = Pick<WriterSlot, 'node' | 'last' | 'findings' | 'behind'>;

/**
 * Where the chain of a slot ends, from its head record and the store and, where those cannot tell, from the log.
 *
 * @param record null: as far as is known the slot never had one
 */
function recover(
  file: string,
  fallback: string,
  record: HeadRecord | null,
  vault: AuditVault,
  stored: ReadonlyMap<string, ChainHead>,
): Recovered {
  const mac: ChainMac = (text) => vault.mac('audit-chain', text);
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
    // An end that is ahead of the log stays where it is: written on from there, the chain shows for ever that lines
    // are gone. Written on from the end of the file, it would hide a cut.
    const known = laterOf({ seq, hash, end }, stored.get(node));
    const found = closed && known.seq === seq ? undefined : newestLine(file, node, mac, known.seq);
    const last =
      found === undefined || found.seq === known.seq ? { ...known, end: known.end ?? found?.end } : found;
    return {
      node,
      last,
      findings: [],
      behind: found === undefined && known.seq > seq ? behind(node, known) : undefined,
    };
  }
  const known = stored.get(fallback);
  const found = newestLine(file, fallback, mac, known?.seq ?? 0);
  const retention = readRetention(file, vault);
  const removed = retention.kind === 'record' ? retention.record.chains.get(fallback) : undefined;
  if (record === null && found === undefined && removed === undefined && known === undefined) {
    return { node: fallback, last: { seq: 0, hash: genesis }, findings: [], behind: undefined };
  }
  if (known !== undefined && found === undefined && known.seq > (removed?.seq ?? 0)) {
    return { node: fallback, last: known, findings: [], behind: behind(fallback, known) };
  }
  const state = record?.kind === 'broken' ? 'damaged' : 'gone';
  return {
    node: fallback,
    last: found ?? removed ?? { seq: 0, hash: genesis },
    findings: [
      `The head record of ${fallback} was ${state}: lines before this one may have been cut unseen.`,
    ],
    behind: undefined,
  };
}

function laterOf(one: ChainHead, other: ChainHead | undefined): ChainHead {
  return other !== undefined && other.seq > one.seq ? other : one;
}

function behind(node: string, { seq }: ChainHead): string {
  return `The store names line ${seq} of ${node}, and the log ends before it: lines were removed, or an older copy of the log was put back. "sidekey audit verify" tells which, and "sidekey audit accept" records that they are gone.`;
}

/** The last authentic line of `node` in the log with at least this `seq`. */
function newestLine(file: string, node: string, mac: ChainMac, least: number): ChainHead | undefined {
  const name = Buffer.from(`"node":"${node}"`);
  for (const source of snapshotLog(file).toReversed()) {
    const reader = openSource(file, source);
    if (reader === undefined) continue;
    try {
      for (const { bytes, at } of readBackwards(reader, Math.min(source.size, reader.size()))) {
        if (!bytes.includes(name)) continue;
        for (const piece of piecesOf(bytes).toReversed()) {
          const read = readPiece(piece, mac);
          if (read.kind !== 'line' || read.node !== node || read.seq < least) continue;
          const to = at + piece.byteOffset - bytes.byteOffset + piece.length;
          return { seq: read.seq, hash: read.hash, end: formatEnd(source.number, to) };
        }
      }
    } catch (error) {
      // A packed file that is damaged hides lines for `verifyAudit` to miss; it does not stop the next one.
      if (!(error instanceof PackedDamage)) throw error;
    } finally {
      reader.close();
    }
  }
  return undefined;
}

/** A host name as it may stand in a node's name: no quotes, no spaces, of bounded length. */
function plainHost(host: string): string {
  return host.replaceAll(/[^\w.-]/g, '-').slice(0, 100) || 'local';
}
