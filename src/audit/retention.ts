/**
 * Packs rotated files and removes expired ones so that the rest of the log still verifies. Before a file is
 * removed, its lines are checked, the event `audit.pruned` is written, and the heads of its lines are sealed
 * beside the log. The event also records damage of the removed file.
 */
import fs from 'node:fs';
import path from 'node:path';
import { indexName, makeIndex, readIndex } from './block-index.ts';
import { type ChainFindings, type Gap, walkChains } from './chain.ts';
import type { AuditLog } from '../domain/event.ts';
import type { AuditVault } from './live-file.ts';
import { chainMac, type ChainMac } from './line.ts';
import { parseLine, piecesOf, readPiece } from './piece.ts';
import {
  type LogSource,
  packedName,
  type RotatedFile,
  rotatedFiles,
  snapshotLog,
  syncFolder,
  tryLockFile,
} from './log-files.ts';
import { type LogReader, openSource, plainReader, readBackwards, readBlock } from './reader.ts';
import { packBlock, PackedDamage } from './packed.ts';
import {
  nothingRemoved,
  readRetention,
  retentionFile,
  type RetentionRecord,
  writeRetention,
} from './sealed-heads.ts';
import { walkSource } from './verify.ts';
import { completeHeads } from './writer-slot.ts';

/** Limits for rotated files; a file is removed when it exceeds one of them. Null: no limit. */
interface RetentionLimits {
  /** Milliseconds since the last line of a file. */
  readonly keepMs: number | null;
  readonly keepFiles: number | null;
  /** Bytes of all rotated files but the newest, which always stays and may not be packed yet. */
  readonly keepBytes: number | null;
}

interface RetentionOptions extends RetentionLimits {
  readonly file: string;
  readonly vault: AuditVault;
  readonly audit: Pick<AuditLog, 'append'>;
  /** Milliseconds since the epoch. */
  readonly now: number;
  /** Aborts before anything is removed; the call then rejects with the reason of the signal. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Removes expired files and returns their number. Keeps the newest rotated file, because the number of the
 * next one follows from it. Does nothing while another process removes files, or if the retention record is
 * not authentic: the reason for missing files would be unknown.
 *
 * @throws SidekeyError `audit_unavailable` if the removal cannot be recorded; then nothing is removed.
 */
export async function removeExpired(options: RetentionOptions): Promise<number> {
  const { file, vault } = options;
  if (options.keepMs === null && options.keepFiles === null && options.keepBytes === null) return 0;
  using lock = tryLockFile(`${file}.retain.lock`);
  if (lock === undefined) return 0;
  const state = readRetention(file, vault);
  if (state.kind === 'broken' || state.kind === 'other-key') return 0;
  const before = state.kind === 'record' ? state.record : nothingRemoved;
  // Completes a removal that was interrupted after its record.
  unlinkUpTo(file, before.removed);
  const expired = expiredFiles(options, before);
  const newest = expired.at(-1);
  if (newest === undefined) return 0;
  await remove(options, before, expired, newest.number);
  return expired.length;
}

function expiredFiles(
  { file, vault, now, keepMs, keepFiles, keepBytes }: RetentionOptions,
  { removed }: RetentionRecord,
): LogSource[] {
  const mac = chainMac(vault);
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
 * Returns the time of the last authentic line of a file, in milliseconds since the epoch. A process can set
 * back the time of the file itself, and retention would remove the file too early.
 */
function lastLineAt(file: string, source: LogSource, mac: ChainMac): number | undefined {
  using reader = openSource(file, source);
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
  }
}

async function remove(
  { file, vault, audit, now, signal }: RetentionOptions,
  before: RetentionRecord,
  expired: readonly LogSource[],
  removed: number,
): Promise<void> {
  const mac = chainMac(vault);
  const place = { file: retentionFile(file), line: 1 };
  let marked = 0;
  async function examine(accepted: readonly Gap[]): Promise<ChainFindings> {
    const walk = walkChains(new Map(), place, { starts: before.chains, openEnded: true });
    for (const gap of accepted) walk.accept(gap);
    marked = 0;
    for (const source of expired) {
      signal?.throwIfAborted();
      marked += (await walkSource(file, source, mac, walk)).length;
    }
    return walk.finish();
  }

  let verification = await examine([]);
  if (verification.gaps.length > 0) {
    // A later line may have accepted the loss, perhaps in a file that stays.
    const accepted: Gap[] = [];
    const collector = {
      see: () => undefined,
      accept: (gap: Gap) => accepted.push(gap),
      finish: () => verification,
    };
    for (const source of snapshotLog(file)) {
      if (source.number > removed) await walkSource(file, source, mac, collector);
    }
    if (accepted.length > 0) verification = await examine(accepted);
  }
  const { lines, heads, chains, problems, omitted } = verification;
  const missingFiles = Math.max(0, removed - before.removed - expired.length);
  const wrong = marked + problems.length + omitted + missingFiles;
  const names = expired.map((source) => path.basename(source.path));
  const which = names.length === 1 ? names[0] : `${names[0]} to ${names.at(-1)}`;
  const what = `Retention removed ${which} with ${lines} ${lines === 1 ? 'line' : 'lines'}`;
  completeHeads(file, vault, before.chains, heads);
  await audit.append({
    event: 'audit.pruned',
    reason:
      wrong === 0
        ? `${what}.`
        : `${what}; ${wrong} ${wrong === 1 ? 'thing' : 'things'} in it did not verify.`,
    code: wrong === 0 ? undefined : 'audit_broken',
  });
  const firsts = new Map(chains.map(({ node, first }) => [node, first]));
  const removedChains = Array.from(heads, ([node, head]) => {
    const first = before.chains.get(node)?.first ?? firsts.get(node) ?? 1;
    return [node, { first, ...head }] as const;
  });
  const time = new Date(now).toISOString();
  const record = { removed, time, lines: before.lines + lines, chains: new Map(removedChains) };
  writeRetention(file, record, vault);
  unlinkUpTo(file, removed);
}

function unlinkUpTo(file: string, removed: number): void {
  for (const { path: at, number } of rotatedFiles(file)) {
    if (number > removed) break;
    fs.rmSync(at, { force: true });
    fs.rmSync(`${at}.gz`, { force: true });
    fs.rmSync(indexName(file, number), { force: true });
  }
}

/** Milliseconds without a write before packing: a writer notices a rotation only before its next write. */
const settledAfterMs = 60_000;

/**
 * Packs the settled rotated files, oldest first, and returns their number. Does nothing while another process
 * packs. If interrupted, leaves the plain file and an ignored partial packed file; the next call starts over.
 *
 * @param now Milliseconds since the epoch, of the clock of file times.
 * @param signal Aborts the call, which then rejects with the reason of the signal.
 */
export async function packRotated(file: string, now: number, signal?: AbortSignal): Promise<number> {
  const plain = rotatedFiles(file).filter(({ packed }) => !packed);
  return eachSettled(file, plain, now, (rotated) => pack(file, rotated, signal));
}

/** Indexes settled rotated files without an index, otherwise like `packRotated`. Packing changes no index. */
export async function indexRotated(file: string, now: number, signal?: AbortSignal): Promise<number> {
  const without = rotatedFiles(file).filter(({ number }) => !fs.existsSync(indexName(file, number)));
  return eachSettled(file, without, now, async ({ number }) => {
    const source = snapshotLog(file).find((each) => each.number === number);
    using reader = source && openSource(file, source);
    if (reader === undefined) return;
    const draft = `${indexName(file, number)}.new`;
    fs.rmSync(draft, { force: true });
    fs.writeFileSync(draft, await makeIndex(reader, reader.size(), signal), { flag: 'wx', mode: 0o600 });
    fs.renameSync(draft, indexName(file, number));
  });
}

/** Calls `work` for each settled file, unless another process does so. Returns the number of these files. */
async function eachSettled(
  file: string,
  files: readonly RotatedFile[],
  now: number,
  work: (rotated: RotatedFile) => Promise<void>,
): Promise<number> {
  if (files.length === 0) return 0;
  using lock = tryLockFile(`${file}.pack.lock`);
  if (lock === undefined) return 0;
  let count = 0;
  for (const rotated of files) {
    const stats = fs.statSync(rotated.path, { throwIfNoEntry: false });
    // Two names: the rotation was interrupted, and writers still append to the file.
    if (stats === undefined || stats.size === 0 || stats.nlink > 1 || now - stats.mtimeMs < settledAfterMs)
      continue;
    await work(rotated);
    count += 1;
  }
  return count;
}

async function pack(
  file: string,
  { path, number }: RotatedFile,
  signal: AbortSignal | undefined,
): Promise<void> {
  const target = packedName(file, number);
  const draft = `${target}.new`;
  using reader = plainReader(fs.openSync(path, 'r'));
  fs.rmSync(draft, { force: true });
  let packed: number;
  {
    await using to = await fs.promises.open(draft, 'wx', 0o600);
    packed = await packFrom(reader, 0, to, signal);
    await to.sync();
  }
  const { mtime } = fs.statSync(path);
  fs.utimesSync(draft, mtime, mtime);
  fs.renameSync(draft, target);
  syncFolder(target);
  // The plain file counts until its name is removed; lines appended until then are packed after it.
  fs.unlinkSync(path);
  if (reader.size() > packed) {
    await using more = await fs.promises.open(target, 'a');
    await packFrom(reader, packed, more);
    await more.sync();
  }
  if (readIndex(file, number)?.size !== reader.size()) fs.rmSync(indexName(file, number), { force: true });
}

/** Packs the text from the offset `at` to the end; returns the end offset. */
async function packFrom(
  reader: LogReader,
  at: number,
  to: fs.promises.FileHandle,
  signal?: AbortSignal,
): Promise<number> {
  for (;;) {
    signal?.throwIfAborted();
    // Whole lines, so that a reader can use a block by itself.
    const block = await readBlock(reader, at, Infinity);
    if (block.length === 0) return at;
    await to.write(await packBlock(block));
    at += block.length;
  }
}
