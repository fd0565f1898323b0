/**
 * Checks a whole log against the key: every line, every chain, every head record, every rotated file. Streams, and may
 * run while writers write.
 *
 * Found: a line that was edited, removed, moved, repeated or added; an end that was cut; a file that was removed by
 * anybody but retention. Found only with the ends in the store, or with an anchor: a log that was removed or put back as
 * it was, together with its head records.
 */
import path from 'node:path';
import { SidekeyError } from '../lib/errors.ts';
import {
  type Anchored,
  nothingRemoved,
  parseGap,
  readRetention,
  retentionFile,
  type RetentionState,
  type StoredHeads,
} from './sealed-heads.ts';
import {
  type ChainExtent,
  type ChainWalk,
  type Gap,
  type Problem,
  problemLimit,
  walkChains,
} from './chain.ts';
import { type LogSource, rotatedFiles, snapshotLog } from './log-files.ts';
import { openSource, PackedDamage, readForwards } from './reader.ts';
import { type ChainMac, type ChainHead, parseLine, piecesOf, readPiece } from './line.ts';
import { type AuditVault, headFile, type HeadRecord, highestSlot, readHeads } from './head-file.ts';

/** What is verified. */
interface VerifyOptions {
  readonly file: string;
  readonly vault: AuditVault;
  readonly anchored?: Anchored | undefined;
  /**
   * The ends that the store has of it, read before the call: the log is then no shorter than they say. Left out: the
   * store is not at hand.
   */
  readonly stored?: StoredHeads | undefined;
}

/** What a check of the log found. */
export interface Verification {
  /** Whether there are no problems. */
  readonly ok: boolean;
  /** Authentic lines. */
  readonly lines: number;
  readonly files: number;
  /** How many files retention removed before the first of them. */
  readonly removed: number;
  /** When it last removed some, in ISO 8601; null: never. */
  readonly removedAt: string | null;
  /** Whether it was compared with the ends in the store. */
  readonly compared: boolean;
  /** Lines that are gone whose loss is not accepted yet. */
  readonly gaps: readonly Gap[];
  /** How many lines are gone whose loss was accepted. */
  readonly accepted: number;
  /** Ends of writes that a crash or a full disk broke off. They record nothing, and no line is missing for them. */
  readonly torn: number;
  readonly chains: readonly ChainExtent[];
  /** The first of the problems: where to begin to look. */
  readonly first: Problem | null;
  /** In the order of the log. At most some thousands; `omitted` says how many more there are. */
  readonly problems: readonly Problem[];
  readonly omitted: number;
}

/**
 * Verifies the log at `file`. A log that was never written has no lines and no problems.
 *
 * @param options.anchored What anchors say of it, see `readAnchors`.
 * @throws SidekeyError `key_mismatch` where it was written with another master key.
 */
export async function verifyAudit(options: VerifyOptions): Promise<Verification> {
  const file = path.resolve(options.file);
  let retention = readRetention(file, options.vault);
  for (;;) {
    const found = await verifyFrom({ ...options, file }, retention);
    // Where retention removed files meanwhile, what is missing is what it removed.
    const now = readRetention(file, options.vault);
    if (found.ok || JSON.stringify(now) === JSON.stringify(retention)) return found;
    retention = now;
  }
}

async function verifyFrom(
  { file, vault, anchored, stored }: VerifyOptions,
  retention: RetentionState,
): Promise<Verification> {
  const mac: ChainMac = (text) => vault.mac('audit-chain', text);
  const { removed, time, chains: starts } = retention.kind === 'record' ? retention.record : nothingRemoved;
  // First the heads, then the sizes of the files: what a head tells of was written before it.
  const records = readHeads(file, vault);
  // A removal that was interrupted leaves files, which the next one removes.
  const sources = snapshotLog(file).filter(({ number }) => number > removed);
  const walk = walkChains(
    headLinks(records),
    { file: headFile(file), line: 1 },
    {
      starts,
      anchored,
      stored: stored?.heads,
    },
  );
  const problems: Problem[] = [
    ...storedProblems(stored),
    ...headProblems(file, records),
    ...slotProblems(file, records),
    ...retentionProblems(file, retention),
    ...numberProblems(file, removed),
  ];
  for (const source of sources) problems.push(...(await walkSource(file, source, mac, walk)));

  const found = walk.finish();
  problems.push(...behindProblems(file, records, readHeads(file, vault), found.heads));
  const otherKey = records.find((record) => record.kind === 'other-key');
  if (otherKey !== undefined && found.lines === 0) {
    throw new SidekeyError(
      'key_mismatch',
      `The audit log ${file} was written with another master key (${otherKey.keyId}) than this one (${vault.keyId}).`,
      { hint: 'Verify it with the key that it was written with.' },
    );
  }
  const order = new Map(sources.map((source, index) => [source.path, index]));
  const rank = (problem: Problem) => order.get(problem.file) ?? sources.length;
  const all = [...problems, ...found.problems].toSorted((a, b) => rank(a) - rank(b) || a.line - b.line);
  return {
    ok: all.length === 0,
    lines: found.lines,
    files: sources.length,
    removed,
    removedAt: time === '' ? null : time,
    compared: stored !== undefined,
    gaps: found.gaps,
    accepted: found.accepted,
    torn: found.torn,
    chains: found.chains,
    first: all[0] ?? null,
    problems: all.slice(0, problemLimit),
    omitted: found.omitted + Math.max(0, all.length - problemLimit),
  };
}

/**
 * Shows the pieces of one file to a walk. Answers the problems that are no matter of its chains: what writers and
 * retention found and marked in the log itself, and a packed file that is damaged.
 */
export async function walkSource(
  file: string,
  source: LogSource,
  mac: ChainMac,
  walk: ChainWalk,
): Promise<Problem[]> {
  const reader = openSource(file, source);
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
          if (piece.kind !== 'line' || !marking.has(piece.event)) continue;
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
  } finally {
    reader.close();
  }
  return problems;
}

/** Events that with the code `audit_broken` say what was found to be wrong then, and one that accepts a loss. */
const marking: ReadonlySet<string> = new Set(['audit.repaired', 'audit.pruned', 'audit.accepted']);

function storedProblems(stored: StoredHeads | undefined): Problem[] {
  return (stored?.damaged ?? []).map((node, index) => {
    const sentence = `The end of ${node} in the store was changed.`;
    return { file: stored?.location ?? '', line: index + 1, kind: 'edited', sentence };
  });
}

function headLinks(records: readonly HeadRecord[]): Map<string, ChainHead> {
  return new Map(
    records.flatMap((record) => (record.kind === 'head' ? [[record.head.node, record.head]] : [])),
  );
}

function headProblems(file: string, records: readonly HeadRecord[]): Problem[] {
  return records.flatMap((record, index): Problem[] => {
    if (record.kind === 'head' || record.kind === 'none') return [];
    const sentence =
      record.kind === 'broken'
        ? `The head record of slot ${index + 1} was changed.`
        : `The head record of slot ${index + 1} was written with another master key (${record.keyId}).`;
    return [{ file: headFile(file), line: index + 1, kind: 'edited', sentence }];
  });
}

/** A slot that had a record has one for ever. */
function slotProblems(file: string, records: readonly HeadRecord[]): Problem[] {
  const slots = Array.from({ length: highestSlot(records) }, (_, index) => index);
  return slots.flatMap((index): Problem[] => {
    if ((records[index]?.kind ?? 'none') !== 'none') return [];
    const sentence = `The head record of slot ${index + 1} is gone, and perhaps all lines of its writer with it.`;
    return [{ file: headFile(file), line: index + 1, kind: 'cut', sentence }];
  });
}

/**
 * Records that say that nothing was written after a line, where something was. A writer that begins again says so first, so
 * such a record was put back; unless it was written anew while the log was read.
 */
function behindProblems(
  file: string,
  before: readonly HeadRecord[],
  after: readonly HeadRecord[],
  ends: ReadonlyMap<string, ChainHead>,
): Problem[] {
  return before.flatMap((record, index): Problem[] => {
    if (record.kind !== 'head' || !record.head.closed) return [];
    const { node, seq } = record.head;
    const isBehind =
      (ends.get(node)?.seq ?? 0) > seq && JSON.stringify(after[index]) === JSON.stringify(record);
    if (!isBehind) return [];
    const sentence = `The head record of ${node} ends at line ${seq}, and the log does not: an older record was put back.`;
    return [{ file: headFile(file), line: index + 1, kind: 'repeated', sentence }];
  });
}

function retentionProblems(file: string, state: RetentionState): Problem[] {
  if (state.kind === 'record' || state.kind === 'none') return [];
  const sentence =
    state.kind === 'broken'
      ? 'The record of what retention removed was changed.'
      : `The record of what retention removed was written with another master key (${state.keyId}).`;
  return [{ file: retentionFile(file), line: 1, kind: 'edited', sentence }];
}

/** Rotated files are numbered without a gap, from the last that retention removed. */
function numberProblems(file: string, removed: number): Problem[] {
  let last = removed;
  return rotatedFiles(file).flatMap(({ path: at, number }): Problem[] => {
    if (number <= removed) return [];
    const gone = number - last - 1;
    const [from, to] = [last + 1, number - 1];
    last = number;
    if (gone <= 0) return [];
    const what = gone === 1 ? `Rotated file ${from} is` : `Rotated files ${from} to ${to} are`;
    return [{ file: at, line: 1, kind: 'missing', sentence: `${what} gone.` }];
  });
}
