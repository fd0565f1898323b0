import fs from 'node:fs';
import path from 'node:path';
import { SidekeyError } from '../lib/errors.ts';
import { indexName, makeIndex, readIndex } from './block-index.ts';
import { type ChainFindings, type ChainWalk, type Problem, problemLimit, walkChains } from './chain.ts';
import { type AuditVault, headFile, type HeadRecord, highestSlot, readHeads } from './live-file.ts';
import { type ChainHead, chainMac, type ChainMac } from './line.ts';
import { parseLine, piecesOf, readPiece } from './piece.ts';
import { type LogSource, rotatedFiles, snapshotLog } from './log-files.ts';
import { openSource, readForwards } from './reader.ts';
import { PackedDamage } from './packed.ts';
import {
  type Anchored,
  nothingRemoved,
  parseGap,
  readRetention,
  retentionFile,
  type RetentionState,
  type StoredHeads,
} from './sealed-heads.ts';

interface VerifyOptions {
  readonly file: string;
  readonly vault: AuditVault;
  /** The lines that anchors name, see `anchoredLines`. */
  readonly anchored?: Anchored | undefined;
  /** Heads in the store, read before the call, so that the log is at least as new. Absent without a store. */
  readonly stored?: StoredHeads | undefined;
  /** True if the log is a copy, which may end before these heads. */
  readonly isCopy?: boolean | undefined;
}

export interface Verification extends Omit<ChainFindings, 'heads'> {
  /** True if there are no problems. */
  readonly ok: boolean;
  readonly files: number;
  /** Number of files that retention removed before the first of these. */
  readonly removed: number;
  readonly removedLines: number;
  /** Time of the last removal, in ISO 8601; null: none. */
  readonly removedAt: string | null;
  /** True if the log was compared with the heads in the store. */
  readonly compared: boolean;
  /** The first problem in the order of the log. */
  readonly first: Problem | null;
}

/**
 * Verifies the log at `file` against the key: lines, chains, head records and rotated files. Streams, and may
 * run while writers write. A log that was never written has no lines and no problems.
 *
 * Finds lines that were edited, removed, moved, repeated or added, a cut end, and files that were removed,
 * but not by retention. Needs the heads in the store, or an anchor, to find a log that was removed, or
 * restored together with its own head file.
 *
 * @throws SidekeyError `key_mismatch` if it was written with another master key.
 */
export async function verifyAudit(options: VerifyOptions): Promise<Verification> {
  const file = path.resolve(options.file);
  let retention = readRetention(file, options.vault);
  for (;;) {
    const verification = await verifyFrom({ ...options, file }, retention);
    // Retention may have removed files meanwhile.
    const now = readRetention(file, options.vault);
    if (verification.ok || JSON.stringify(now) === JSON.stringify(retention)) return verification;
    retention = now;
  }
}

async function verifyFrom(
  { file, vault, anchored, stored, isCopy }: VerifyOptions,
  retention: RetentionState,
): Promise<Verification> {
  const mac = chainMac(vault);
  const {
    removed,
    time,
    lines,
    chains: starts,
  } = retention.kind === 'record' ? retention.record : nothingRemoved;
  // Reads heads before file sizes: the lines that a head names were written before it.
  const records = readHeads(file, vault);
  // An interrupted removal leaves files, which the next one removes.
  const sources = snapshotLog(file).filter(({ number }) => number > removed);
  const heads = new Map<string, ChainHead>();
  for (const record of records) if (record.kind === 'head') heads.set(record.head.node, record.head);
  const known = { starts, anchored, stored: stored?.heads, isCopy };
  const walk = walkChains(heads, { file: headFile(file), line: 1 }, known);
  const problems: Problem[] = [
    ...storeProblems(stored),
    ...headProblems(file, records),
    ...retentionProblems(file, retention),
    ...numberProblems(file, removed),
  ];
  for (const source of sources) {
    problems.push(...(await walkSource(file, source, mac, walk)));
    problems.push(...(await indexProblems(file, source)));
  }

  const result = walk.finish();
  problems.push(...oldHeadProblems(file, records, readHeads(file, vault), result.heads));
  const otherKey = records.find((record) => record.kind === 'other-key');
  if (otherKey !== undefined && result.lines === 0) {
    throw new SidekeyError(
      'key_mismatch',
      `The audit log ${file} was written with another master key (${otherKey.keyId}) than this one (${vault.keyId}).`,
      { hint: 'Verify it with the key that it was written with.' },
    );
  }
  const order = new Map(sources.map((source, index) => [source.path, index]));
  const rank = (problem: Problem) => order.get(problem.file) ?? sources.length;
  const all = [...problems, ...result.problems].toSorted((a, b) => rank(a) - rank(b) || a.line - b.line);
  return {
    ok: all.length === 0,
    lines: result.lines,
    files: sources.length,
    removed,
    removedLines: lines,
    removedAt: time === '' ? null : time,
    compared: stored !== undefined,
    gaps: result.gaps,
    accepted: result.accepted,
    torn: result.torn,
    chains: result.chains,
    first: all[0] ?? null,
    problems: all.slice(0, problemLimit),
    omitted: result.omitted + Math.max(0, all.length - problemLimit),
  };
}

/**
 * Passes the pieces of one file to a walk. Returns the problems beside its chains: damage that writers and
 * retention recorded in the log, and a damaged packed file.
 */
export async function walkSource(
  file: string,
  source: LogSource,
  mac: ChainMac,
  walk: ChainWalk,
): Promise<Problem[]> {
  using reader = openSource(file, source);
  if (reader === undefined) return [];
  const problems: Problem[] = [];
  let last = 0;
  try {
    for await (const lines of readForwards(reader, source.size)) {
      for (const { bytes, number, at } of lines) {
        const place = { file: source.path, line: (last = number) };
        for (const bytesOfPiece of piecesOf(bytes)) {
          const piece = readPiece(bytesOfPiece, mac);
          const from = at + bytesOfPiece.byteOffset - bytes.byteOffset;
          walk.see(piece, place, { number: source.number, from, to: from + bytesOfPiece.length });
          if (piece.kind !== 'line' || !logEvents.has(piece.event)) continue;
          const { event, code, reason = '' } = parseLine(bytesOfPiece) ?? {};
          const gap = event === 'audit.accepted' ? parseGap(reason) : undefined;
          if (gap !== undefined) walk.accept(gap);
          if (code === 'audit_broken') problems.push({ ...place, kind: 'cut', sentence: reason });
        }
      }
    }
  } catch (error) {
    if (!(error instanceof PackedDamage)) throw error;
    const sentence = `The packed file was changed after it was written (${error.message}): it cannot be read from here on.`;
    problems.push({ file: source.path, line: last + 1, kind: 'edited', sentence });
  }
  return problems;
}

/** Finds an index that does not match its file: queries would leave lines out. */
async function indexProblems(file: string, source: LogSource): Promise<Problem[]> {
  const at = indexName(file, source.number);
  if (!fs.existsSync(at)) return [];
  const index = readIndex(file, source.number);
  using reader = openSource(file, source);
  if (reader === undefined) return [];
  try {
    if (index !== undefined && index.bytes.equals(await makeIndex(reader, index.size))) return [];
  } catch (error) {
    // The walk reports this damage.
    if (error instanceof PackedDamage) return [];
    throw error;
  }
  const sentence = 'The index was changed, or its file was: queries may leave lines out. Remove it.';
  return [{ file: at, line: 1, kind: 'edited', sentence }];
}

/** Events that report damage by the code `audit_broken`, and the event that accepts a loss. */
const logEvents: ReadonlySet<string> = new Set(['audit.repaired', 'audit.pruned', 'audit.accepted']);

function storeProblems(stored: StoredHeads | undefined): Problem[] {
  return (stored?.damaged ?? []).map((node, index) => {
    const sentence = `The end of ${node} in the store was changed.`;
    return { file: stored?.location ?? '', line: index + 1, kind: 'edited', sentence };
  });
}

/** Finds changed and missing records: a slot that had a record always keeps one. */
function headProblems(file: string, records: readonly HeadRecord[]): Problem[] {
  const count = Math.max(records.length, highestSlot(records));
  return Array.from({ length: count }, (_, index): Problem[] => {
    const record = records[index] ?? { kind: 'none' };
    const place = { file: headFile(file), line: index + 1 };
    const name = `The head record of slot ${index + 1}`;
    if (record.kind === 'broken') return [{ ...place, kind: 'edited', sentence: `${name} was changed.` }];
    if (record.kind === 'other-key') {
      const sentence = `${name} was written with another master key (${record.keyId}).`;
      return [{ ...place, kind: 'edited', sentence }];
    }
    if (record.kind === 'head' && record.key.retiredAt !== null) return [retiredSeal(place, name)];
    if (record.kind === 'head' || index >= highestSlot(records)) return [];
    return [
      { ...place, kind: 'cut', sentence: `${name} is gone, and perhaps all lines of its writer with it.` },
    ];
  }).flat();
}

/**
 * Finds closed records that lines follow. A writer first records that it has opened its chain, so an older
 * record was restored, unless the record was rewritten while the log was read.
 */
function oldHeadProblems(
  file: string,
  before: readonly HeadRecord[],
  after: readonly HeadRecord[],
  heads: ReadonlyMap<string, ChainHead>,
): Problem[] {
  return before.flatMap((record, index): Problem[] => {
    if (record.kind !== 'head' || !record.head.closed) return [];
    const { node, seq } = record.head;
    if ((heads.get(node)?.seq ?? 0) <= seq) return [];
    if (JSON.stringify(after[index]) !== JSON.stringify(record)) return [];
    const sentence = `The head record of ${node} ends at line ${seq}, and the log does not: an older record was restored.`;
    return [{ file: headFile(file), line: index + 1, kind: 'repeated', sentence }];
  });
}

/** Returns a problem: somebody with a retired key may have restored an older record. */
function retiredSeal(place: { file: string; line: number }, name: string): Problem {
  const why =
    'is sealed with a retired master key: it was restored, or no process of this log has run since the rotation.';
  return { ...place, kind: 'repeated', sentence: `${name} ${why}` };
}

function retentionProblems(file: string, state: RetentionState): Problem[] {
  const place = { file: retentionFile(file), line: 1 };
  if (state.kind === 'record' && state.key.retiredAt !== null)
    return [retiredSeal(place, 'The record of what retention removed')];
  if (state.kind === 'record' || state.kind === 'none') return [];
  const sentence =
    state.kind === 'broken'
      ? 'The record of what retention removed was changed.'
      : `The record of what retention removed was written with another master key (${state.keyId}).`;
  return [{ ...place, kind: 'edited', sentence }];
}

/** Reports gaps in the numbers of rotated files after the last file that retention removed. */
function numberProblems(file: string, removed: number): Problem[] {
  let last = removed;
  return rotatedFiles(file).flatMap(({ path: at, number }): Problem[] => {
    if (number <= removed) return [];
    const [from, to] = [last + 1, number - 1];
    last = number;
    if (from > to) return [];
    const what = from === to ? `Rotated file ${from} is` : `Rotated files ${from} to ${to} are`;
    return [{ file: at, line: 1, kind: 'missing', sentence: `${what} gone.` }];
  });
}
