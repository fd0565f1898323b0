import fs from 'node:fs';
import type { AuditLine } from '../domain/event.ts';
import { type LogSource, snapshotLog } from './log-files.ts';
import { parseLine, piecesOf } from './piece.ts';
import { maxLineBytes, openSource, readFully } from './reader.ts';
import { PackedDamage } from './packed.ts';

/** A position in the log: the start of a line, or the end. */
export interface LogPosition {
  /** Number of a rotated file; for the live file the number that it will have. */
  readonly segment: number;
  /** Bytes of text before it in that file. */
  readonly offset: number;
}

/** A line, and its text in the log without the newline. */
export interface ReadLine {
  readonly line: AuditLine;
  readonly text: string;
}

export interface LinesRead {
  readonly lines: readonly ReadLine[];
  /** Position of the first line, and of the next read. */
  readonly from: LogPosition;
  readonly next: LogPosition;
  /** True if lines before `from` are missing: retention removed them, or a packed file is damaged. */
  readonly skipped: boolean;
}

/** Limits for one read, which returns at least one line of any length. */
interface ReadLimits {
  readonly lines: number;
  readonly bytes: number;
}

/** Milliseconds without a write after which a rotated file is complete: a write may have been under way. */
const endedAfterMs = 5_000;

export function endOfLog(file: string): LogPosition {
  const last = snapshotLog(file).at(-1);
  if (last === undefined) return { segment: 1, offset: 0 };
  return { segment: last.number, offset: sizeOf(file, last) };
}

/** Returns the first remaining position of the log. */
export function startOfLog(file: string): LogPosition {
  return { segment: snapshotLog(file)[0]?.number ?? 1, offset: 0 };
}

/** Counts the bytes of text from a position to the end of the log. */
export function bytesBehind(file: string, { segment, offset }: LogPosition): number {
  return snapshotLog(file)
    .filter(({ number }) => number >= segment)
    .reduce((sum, source) => {
      const size = sizeOf(file, source);
      return sum + (source.number === segment ? Math.max(0, size - offset) : size);
    }, 0);
}

function sizeOf(file: string, source: LogSource): number {
  if (!source.packed) return source.size;
  const reader = openSource(file, source);
  const size = reader?.size() ?? 0;
  reader?.close();
  return Number.isSafeInteger(size + 1) ? size : 0;
}

/**
 * Reads the next lines from a position, across rotations, packing and removals; none if there are none yet.
 *
 * @param now Milliseconds since the epoch, of the clock of file times.
 */
export async function readLinesFrom(
  file: string,
  position: LogPosition,
  limits: ReadLimits,
  now: number,
): Promise<LinesRead> {
  const sources = snapshotLog(file);
  let from = position;
  let skipped = false;
  for (;;) {
    const at = sources.findIndex(({ number }) => number >= from.segment);
    const source = sources[at] ?? sources[0];
    if (source === undefined) return { lines: [], from, next: from, skipped };
    if (source.number !== from.segment) {
      // Removed by retention, or the log was replaced by a new one.
      skipped ||= source.number > from.segment;
      from = { segment: source.number, offset: 0 };
    }
    const following = sources[at + 1];
    const isLast = following !== undefined && isEnded(source, now);
    const read = await readSource(file, source, { ...limits, offset: from.offset, isLast });
    if (read === 'damaged') {
      skipped = true;
    } else {
      const next = { segment: source.number, offset: read.end };
      if (read.lines.length > 0 || read.end > from.offset || !read.ended || following === undefined)
        return { lines: read.lines, from, next, skipped };
    }
    if (following === undefined) return { lines: [], from, next: from, skipped };
    from = { segment: following.number, offset: 0 };
  }
}

/** Reads the lines of the last `bytes` bytes before a position, as far as they can be read. */
export async function readLinesBefore(
  file: string,
  { segment, offset }: LogPosition,
  bytes: number,
): Promise<readonly AuditLine[]> {
  const groups: AuditLine[][] = [];
  let left = bytes;
  for (const source of snapshotLog(file).toReversed()) {
    if (source.number > segment) continue;
    using reader = openSource(file, source);
    if (reader === undefined) continue;
    try {
      const size = Math.min(source.size, reader.size());
      const end = source.number === segment ? Math.min(offset, size) : size;
      const start = Math.max(0, end - left);
      const text = await readFully(reader, start, end - start);
      // The first line may be incomplete.
      const whole = start === 0 ? text : text.subarray(text.indexOf(0x0a) + 1);
      groups.push(piecesOf(whole).flatMap((piece) => parseLine(withoutNewline(piece)) ?? []));
      left -= end - start;
    } catch (error) {
      if (!(error instanceof PackedDamage)) throw error;
    }
    if (left <= 0) break;
  }
  return groups.toReversed().flat();
}

function withoutNewline(piece: Buffer): Buffer {
  return piece.at(-1) === 0x0a ? piece.subarray(0, -1) : piece;
}

function isEnded({ path, packed }: LogSource, now: number): boolean {
  if (packed) return true;
  const stats = fs.statSync(path, { throwIfNoEntry: false });
  return stats !== undefined && now - stats.mtimeMs >= endedAfterMs;
}

async function readSource(
  file: string,
  source: LogSource,
  { offset, isLast, ...limits }: ReadLimits & { readonly offset: number; readonly isLast: boolean },
): Promise<{ lines: ReadLine[]; end: number; ended: boolean } | 'damaged'> {
  using reader = openSource(file, source);
  if (reader === undefined) return { lines: [], end: offset, ended: true };
  try {
    const size = Math.min(source.size, reader.size());
    // A file that became shorter was replaced.
    const start = offset > size ? 0 : offset;
    const bytes = await readFully(reader, start, Math.min(size - start, limits.bytes + maxLineBytes));
    const lines: ReadLine[] = [];
    let from = 0;
    const take = (to: number) => {
      for (const piece of piecesOf(bytes.subarray(from, to))) {
        const line = parseLine(piece);
        if (line !== undefined) lines.push({ line, text: piece.toString('utf8') });
      }
    };
    for (let to = bytes.indexOf(0x0a); to !== -1; to = bytes.indexOf(0x0a, from)) {
      take(to);
      from = to + 1;
      if (lines.length >= limits.lines || from >= limits.bytes) break;
    }
    const isAtEnd = isLast && start + bytes.length === size && bytes.indexOf(0x0a, from) === -1;
    // Text without a newline in a complete file is a last line, or torn for ever.
    if (isAtEnd && from < bytes.length) {
      take(bytes.length);
      from = bytes.length;
    }
    return { lines, end: start + from, ended: isAtEnd };
  } catch (error) {
    if (error instanceof PackedDamage) return 'damaged';
    throw error;
  }
}
