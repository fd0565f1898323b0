/**
 * Verifies the logs of machines that share a store together. Each machine writes its own log with its own
 * chains, and stores their heads, so any machine can list the logs and their lengths.
 */
import path from 'node:path';
import { SidekeyError } from '../lib/errors.ts';
import type { AnchoredLine, Problem } from './chain.ts';
import { type AuditVault, headFile, type HeadRecord, logIdOf, readHeads } from './live-file.ts';
import { snapshotLog } from './log-files.ts';
import {
  type Anchored,
  anchoredLines,
  type LogPlace,
  type OpenedHead,
  parseAnchors,
  type StoredHeads,
} from './sealed-heads.ts';
import { verifyAudit } from './verify.ts';

interface LogsOptions {
  /** The log of this machine. */
  readonly own: string;
  /** Copies of logs, of this machine or others. */
  readonly copies: readonly string[];
  /** The name of this machine. */
  readonly host: string;
  readonly vault: AuditVault;
  /** Content of the anchors file; undefined if no anchors are given. */
  readonly anchors: string | undefined;
  /** Heads of all logs in the store by log id, read before the call. Absent: no store is available. */
  readonly stored: ReadonlyMap<string, StoredHeads> | undefined;
}

export type VerifiedLog = Awaited<ReturnType<typeof verifyOne>>;

/** A log that the store names but that is not among the files. */
export interface AbsentLog extends Pick<LogPlace, 'host' | 'path'> {
  /** The last stored line of each chain. */
  readonly chains: readonly Pick<OpenedHead, 'node' | 'seq' | 'time'>[];
}

export type LogsVerification = Awaited<ReturnType<typeof verifyLogs>>;

interface Known {
  readonly file: string;
  readonly isCopy: boolean;
  readonly id: string;
  readonly records: readonly HeadRecord[];
}

/**
 * Verifies each log by itself (see `verifyAudit`), against the heads in the store, and copies of one log
 * against each other. The end of the own log must match the store. A copy may be older, but must have all
 * lines that its own head file names.
 *
 * @throws SidekeyError as `verifyAudit` and `parseAnchors`; `input_invalid` if a copy does not exist
 */
export async function verifyLogs({ own: ownFile, copies, host, vault, anchors, stored }: LogsOptions) {
  const mainFile = path.resolve(ownFile);
  const files = new Set([mainFile, ...copies.map((file) => path.resolve(file))]);
  const logs = Array.from(files, (file): Known => {
    const records = readHeads(file, vault);
    if (file !== mainFile && records.length === 0 && snapshotLog(file).length === 0) {
      throw new SidekeyError('input_invalid', `There is no audit log at ${file}.`, {
        hint: `copy the log with all its files, such as ${path.basename(headFile(file))}`,
      });
    }
    return { file, isCopy: file !== mainFile, id: logIdOf(file, host, records), records };
  });
  const heads = anchors === undefined ? [] : parseAnchors(anchors, vault);
  const isHere = (id: string) => logs.some((log) => log.id === id);
  const verified = new Map<string, VerifiedLog>();
  for (const same of Map.groupBy(logs, ({ id }) => id).values()) {
    // The longest log comes last: it has a line for each head of the others, unless the chain forks.
    const others = new Map<string, Map<number, AnchoredLine>>();
    for (const log of same.toSorted((a, b) => extentOf(a) - extentOf(b))) {
      const anchored = anchoredLines(heads, log.id);
      const inStore = stored && (stored.get(log.id) ?? { location: '', heads: new Map(), damaged: [] });
      if (!log.isCopy && isEmpty(log, inStore, anchored)) continue;
      verified.set(log.file, await verifyOne(log, vault, together(anchored, others), inStore));
      for (const record of log.records) {
        if (record.kind !== 'head' || record.head.seq === 0) continue;
        const { node, seq, hash } = record.head;
        const lines = others.get(node) ?? new Map<number, AnchoredLine>();
        others.set(node, lines.set(seq, { hash, time: '', copy: log.file }));
      }
    }
  }
  const problems: Problem[] = [];
  const absent: AbsentLog[] = [];
  for (const { log, node, seq, time } of heads) {
    if (log === undefined || isHere(log) || stored?.has(log)) continue;
    const sentence = `The anchor of ${time} names line ${seq} of ${node}, of a log that is not here.`;
    problems.push({ file: mainFile, line: 1, kind: 'missing', sentence });
  }
  for (const [id, known] of stored ?? []) {
    if (isHere(id)) continue;
    for (const node of known.damaged) {
      const sentence = `The end of ${node} in the store was changed.`;
      problems.push({ file: known.location, line: 1, kind: 'edited', sentence });
    }
    const chains = [...known.heads.values()];
    const [first] = chains;
    if (first === undefined) continue;
    if (first.host === host && first.path === mainFile) {
      const ends = chains.map(({ node, seq }) => `line ${seq} of ${node}`).join(', ');
      const sentence = `The store names ${ends} of a log at this path, and it is not here: another log is in its place.`;
      problems.push({ file: mainFile, line: 1, kind: 'missing', sentence });
    } else {
      const ends = chains.map(({ node, seq, time }) => ({ node, seq, time }));
      absent.push({ host: first.host, path: first.path, chains: ends });
    }
  }
  return {
    /** Log of this machine; null: it has recorded nothing, and need not have. */
    own: verified.get(mainFile) ?? null,
    copies: [...verified.values()].filter(({ file }) => file !== mainFile),
    absent,
    /** Problems of the store itself. */
    problems,
  };
}

/** Reports whether there is no log, and neither the store nor an anchor names one. */
function isEmpty({ file, records }: Known, stored: StoredHeads | undefined, anchored: Anchored): boolean {
  const isKnown = stored !== undefined && stored.heads.size + stored.damaged.length > 0;
  return !isKnown && anchored.size === 0 && records.length === 0 && snapshotLog(file).length === 0;
}

/** Number of lines according to the head records. */
function extentOf({ records }: Known): number {
  return records.reduce((sum, record) => sum + (record.kind === 'head' ? record.head.seq : 0), 0);
}

async function verifyOne(
  { file, isCopy, records }: Known,
  vault: AuditVault,
  anchored: Anchored,
  stored: StoredHeads | undefined,
) {
  const verification = await verifyAudit({ file, vault, anchored, stored, isCopy });
  const ends = new Map(verification.chains.map(({ node, last }) => [node, last]));
  for (const record of records)
    if (record.kind === 'head')
      ends.set(record.head.node, Math.max(ends.get(record.head.node) ?? 0, record.head.seq));
  const behind = [...(isCopy ? (stored?.heads.values() ?? []) : [])].flatMap(({ node, seq, time }) => {
    const last = ends.get(node) ?? 0;
    return seq > last ? [{ node, from: last + 1, to: seq, time }] : [];
  });
  return {
    file,
    found: verification,
    /** True if the store has heads of this log. */
    isStored: (stored?.heads.size ?? 0) > 0,
    /** Lines that the store names, and that were written after a copy was made. */
    behind,
  };
}

function together(anchored: Anchored, others: Anchored): Anchored {
  const nodes = new Set([...anchored.keys(), ...others.keys()]);
  return new Map(
    Array.from(nodes, (node) => [
      node,
      new Map([...(others.get(node) ?? []), ...(anchored.get(node) ?? [])]),
    ]),
  );
}
