/**
 * Removes the oldest rotated files when they have been kept long enough, such that the log verifies without them. Before a
 * file goes, its lines are checked, the event `audit.pruned` is in the log, and what was removed is sealed beside it. What
 * was wrong in a removed file is said in that event, and so stays found.
 */
import fs from 'node:fs';
import path from 'node:path';
import { type ChainFindings, type Gap, walkChains } from './chain.ts';
import type { AuditLog } from './event.ts';
import {
  type LogSource,
  openSource,
  PackedDamage,
  readBackwards,
  rotatedFiles,
  snapshotLog,
  tryLockFile,
} from './files.ts';
import { type ChainMac, parseLine, piecesOf, readPiece } from './line.ts';
import {
  type AuditVault,
  nothingRemoved,
  readRetention,
  retentionFile,
  type RetentionRecord,
  writeRetention,
} from './records.ts';
import { walkSource } from './verify.ts';

/** How long rotated files are kept; where several are set, a file goes when one says so. Null: no limit. */
interface RetentionLimits {
  /** Milliseconds since the last line of a file. */
  readonly keepMs: number | null;
  /** How many rotated files. */
  readonly keepFiles: number | null;
  /** Bytes of all rotated files but the newest, which always stays and may not be packed yet. */
  readonly keepBytes: number | null;
}

/** What retention works with. */
interface RetentionOptions extends RetentionLimits {
  readonly file: string;
  readonly vault: AuditVault;
  readonly audit: Pick<AuditLog, 'append'>;
  /** Milliseconds since the epoch. */
  readonly now: number;
  /** Interrupts it before anything is removed; then it rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Removes what need not be kept; answers how many files. The newest rotated file always stays, for the next one's number
 * follows its own. Does nothing where another process is at it, and nothing where the record of earlier removals is
 * not authentic: then nobody could tell what is missing for which reason.
 *
 * @throws SidekeyError `audit_unavailable` where the removal cannot be recorded: then nothing is removed.
 */
export async function removeExpired(options: RetentionOptions): Promise<number> {
  const { file, vault } = options;
  if (options.keepMs === null && options.keepFiles === null && options.keepBytes === null) return 0;
  const lock = tryLockFile(`${file}.retain.lock`);
  if (lock === undefined) return 0;
  try {
    const state = readRetention(file, vault);
    if (state.kind === 'broken' || state.kind === 'other-key') return 0;
    const before = state.kind === 'record' ? state.record : nothingRemoved;
    // Of a removal that was interrupted behind its record.
    unlinkUpTo(file, before.removed);
    const expired = expiredFiles(options, before);
    const newest = expired.at(-1);
    if (newest === undefined) return 0;
    await remove(options, before, expired, newest.number);
    return expired.length;
  } finally {
    lock.release();
  }
}

function expiredFiles(
  { file, vault, now, keepMs, keepFiles, keepBytes }: RetentionOptions,
  { removed }: RetentionRecord,
): LogSource[] {
  const mac: ChainMac = (text) => vault.mac('audit-chain', text);
  const rotated = rotatedFiles(file);
  const last = rotated.at(-1)?.number ?? 0;
  const files = snapshotLog(file).filter(({ number }) => number > removed && number <= last);
  const tooMany = keepFiles === null ? 0 : files.length - keepFiles;
  const older = files.slice(0, -1);
  const sizes = older.map((source) => fs.statSync(source.path, { throwIfNoEntry: false })?.size ?? 0);
  let bytes = sizes.reduce((sum, size) => sum + size, 0);
  const expired: LogSource[] = [];
  for (const [index, source] of older.entries()) {
    const isOld = () => {
      const lastLine = keepMs === null ? undefined : lastLineAt(file, source, mac);
      return keepMs !== null && lastLine !== undefined && now - lastLine >= keepMs;
    };
    const isTooMuch = keepBytes !== null && bytes > keepBytes;
    if (index >= tooMany && !isTooMuch && !isOld()) break;
    expired.push(source);
    bytes -= sizes[index] ?? 0;
  }
  return expired;
}

/**
 * When the last authentic line of a file was written, in milliseconds since the epoch. The times of files do not count:
 * who could set them back would have retention remove what it must not.
 */
function lastLineAt(file: string, source: LogSource, mac: ChainMac): number | undefined {
  const reader = openSource(file, source);
  if (reader === undefined) return undefined;
  try {
    for (const { bytes } of readBackwards(reader, Math.min(source.size, reader.size()))) {
      for (const piece of piecesOf(bytes).toReversed()) {
        if (readPiece(piece, mac).kind === 'line') return Date.parse(parseLine(piece)?.time ?? '');
      }
    }
    return undefined;
  } catch (error) {
    if (error instanceof PackedDamage) return undefined;
    throw error;
  } finally {
    reader.close();
  }
}

async function remove(
  { file, vault, audit, now, signal }: RetentionOptions,
  before: RetentionRecord,
  expired: readonly LogSource[],
  removed: number,
): Promise<void> {
  const mac: ChainMac = (text) => vault.mac('audit-chain', text);
  const place = { file: retentionFile(file), line: 1 };
  let marks = 0;
  async function examine(accepted: readonly Gap[]): Promise<ChainFindings> {
    const walk = walkChains(new Map(), place, { starts: before.chains, openEnded: true });
    for (const gap of accepted) walk.accept(gap);
    marks = 0;
    for (const source of expired) {
      signal?.throwIfAborted();
      marks += (await walkSource(file, source, mac, walk)).length;
    }
    return walk.finish();
  }

  let found = await examine([]);
  if (found.gaps.length > 0) {
    // The acceptance of a loss stands behind it in the log, perhaps in a file that stays.
    const accepted: Gap[] = [];
    const reader = { see: () => undefined, accept: (gap: Gap) => accepted.push(gap), finish: () => found };
    for (const source of snapshotLog(file)) {
      if (source.number > removed) await walkSource(file, source, mac, reader);
    }
    if (accepted.length > 0) found = await examine(accepted);
  }
  const { lines, heads: heads, problems, omitted } = found;
  let wrong = marks;
  wrong += problems.length + omitted + Math.max(0, removed - before.removed - expired.length);
  const names = expired.map((source) => path.basename(source.path));
  const which = names.length === 1 ? names[0] : `${names[0]} to ${names.at(-1)}`;
  const what = `Retention removed ${which} with ${lines} ${lines === 1 ? 'line' : 'lines'}`;
  await audit.append({
    event: 'audit.pruned',
    reason:
      wrong === 0
        ? `${what}.`
        : `${what}; ${wrong} ${wrong === 1 ? 'thing' : 'things'} in it did not verify.`,
    code: wrong === 0 ? undefined : 'audit_broken',
  });
  writeRetention(file, { removed, time: new Date(now).toISOString(), chains: heads }, vault);
  unlinkUpTo(file, removed);
}

function unlinkUpTo(file: string, removed: number): void {
  for (const { path: at, number } of rotatedFiles(file)) {
    if (number > removed) break;
    fs.rmSync(at, { force: true });
    fs.rmSync(`${at}.gz`, { force: true });
  }
}
