import fs from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { promisify } from 'node:util';
import { isSystemError } from '../lib/errors.ts';
import { blockSize, openPacked } from './packed.ts';
import { fileId, type LogSource, packedName, rotatedName, unreadable } from './log-files.ts';

/** A file of the log, open for reading. A packed file has the same offsets as before it was packed. */
export interface LogReader extends Disposable {
  /** Bytes of text in the file now. */
  size(): number;
  /**
   * Copies text from the offset `at`; returns the number of bytes, 0 at the end.
   * @throws PackedDamage if a packed file is not as it was written.
   */
  readSync(into: Buffer, at: number): number;
  /** Reads like `readSync`, without blocking the process on a slow disk. */
  read(into: Buffer, at: number): Promise<number>;
  close(): void;
}

/**
 * Opens a source, even if it was rotated or packed since; undefined if it was removed.
 * @param file The path of the log.
 */
export function openSource(file: string, source: LogSource): LogReader | undefined {
  // Searches by number as well: the id of a removed file may have been reused.
  const fd = openAs(source.path, source.id) ?? openAs(rotatedName(file, source.number), source.id);
  if (fd !== undefined) return source.packed ? packedReader(fd) : plainReader(fd);
  if (source.packed) return undefined;
  const packed = openAs(packedName(file, source.number));
  return packed === undefined ? undefined : packedReader(packed);
}

/** Opens a file; undefined if there is none, or one with another id. */
function openAs(at: string, id?: string): number | undefined {
  let fd: number;
  try {
    fd = fs.openSync(at, 'r');
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return undefined;
    throw unreadable(at, error);
  }
  if (id === undefined || fileId(fs.fstatSync(fd, { bigint: true })) === id) return fd;
  fs.closeSync(fd);
  return undefined;
}

/** Reads a plain file of the log; takes over `fd`. */
export function plainReader(fd: number): LogReader {
  return {
    size: () => fs.fstatSync(fd).size,
    readSync: (into, at) => fs.readSync(fd, into, 0, into.length, at),
    read: async (into, at) => (await promisify(fs.read)(fd, into, 0, into.length, at)).bytesRead,
    close: () => fs.closeSync(fd),
    [Symbol.dispose]: () => fs.closeSync(fd),
  };
}

/** Reads a packed file of the log; takes over `fd`. */
function packedReader(fd: number): LogReader {
  const text = openPacked(fd);
  return {
    // The text behind damage has an unknown size: reading on must fail, not end.
    size: () => (text.damage === undefined ? text.size : Number.MAX_SAFE_INTEGER),
    readSync: (into, at) => text.read(into, at),
    // Inflating a block takes a millisecond of this thread; other work runs between the blocks.
    async read(into, at) {
      await setImmediate();
      return text.read(into, at);
    },
    close: () => fs.closeSync(fd),
    [Symbol.dispose]: () => fs.closeSync(fd),
  };
}

/** Maximum bytes of a line. A longer run of bytes without a newline is read in parts. */
export const maxLineBytes = 262_144;
const newline = 0x0a;

/** The bytes between two newlines. */
interface RawLine {
  /** Bytes of the line without the newline. Valid until the next step of the reader. */
  readonly bytes: Buffer;
  /** Counts from 1. */
  readonly number: number;
  /** Offset of its first byte in the text of the file. */
  readonly at: number;
}

/** Reads the first `size` bytes in pieces of whole lines, from the start of a line at `at`. */
export async function* readTexts(
  reader: LogReader,
  size: number,
  at = 0,
): AsyncGenerator<{ readonly bytes: Buffer; readonly at: number }> {
  let carry = Buffer.alloc(0);
  while (at < size) {
    const chunk = Buffer.allocUnsafe(Math.min(maxLineBytes, size - at));
    const read = await reader.read(chunk, at);
    if (read === 0) break;
    at += read;
    const text =
      carry.length === 0 ? chunk.subarray(0, read) : Buffer.concat([carry, chunk.subarray(0, read)]);
    const whole = text.lastIndexOf(newline) + 1;
    const end = whole === 0 && text.length > maxLineBytes ? text.length : whole;
    if (end > 0) yield { bytes: text.subarray(0, end), at: at - text.length };
    carry = text.subarray(end);
  }
  if (carry.length > 0) yield { bytes: carry, at: at - carry.length };
}

/** Reads lines of the first `size` bytes in batches, from a line start `at`. The last may lack a newline. */
export async function* readForwards(reader: LogReader, size: number, at = 0): AsyncGenerator<RawLine[]> {
  let number = 0;
  for await (const { bytes: text, at: start } of readTexts(reader, size, at)) {
    const lines: RawLine[] = [];
    let from = 0;
    for (let to = text.indexOf(newline); to !== -1; to = text.indexOf(newline, from)) {
      lines.push({ bytes: text.subarray(from, to), number: (number += 1), at: start + from });
      from = to + 1;
    }
    if (from < text.length) lines.push({ bytes: text.subarray(from), number: number + 1, at: start + from });
    yield lines;
  }
}

/** Reads `count` bytes at `at`; fewer if the text ends before. */
export async function readFully(reader: Pick<LogReader, 'read'>, at: number, count: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafeSlow(count);
  let filled = 0;
  while (filled < count) {
    const read = await reader.read(bytes.subarray(filled), at + filled);
    if (read === 0) break;
    filled += read;
  }
  return bytes.subarray(0, filled);
}

/** Reads a block at `at`: the lines that end within `blockSize` bytes, or these bytes if no line does. */
export async function readBlock(reader: LogReader, at: number, end: number): Promise<Buffer> {
  const text = await readFully(reader, at, Math.max(0, Math.min(blockSize, end - at)));
  const last = text.length < blockSize ? -1 : text.lastIndexOf(newline);
  return last === -1 ? text : text.subarray(0, last + 1);
}

/** Reads the lines before `end`, last first. The first one may lack its newline. */
export function* readBackwards(
  reader: LogReader,
  end: number,
): Generator<{ readonly bytes: Buffer; readonly at: number }> {
  let carry = Buffer.alloc(0);
  let at = end;
  while (at > 0) {
    const chunk = Buffer.allocUnsafe(Math.min(65_536, at));
    at -= chunk.length;
    fill(reader, chunk, at);
    const text = carry.length === 0 ? chunk : Buffer.concat([chunk, carry]);
    let to = text.length;
    for (let from = text.lastIndexOf(newline); from !== -1;) {
      if (to > from + 1) yield { bytes: text.subarray(from + 1, to), at: at + from + 1 };
      to = from;
      from = from === 0 ? -1 : text.lastIndexOf(newline, from - 1);
    }
    carry = text.subarray(0, to);
    if (carry.length > maxLineBytes) {
      yield { bytes: carry, at };
      carry = Buffer.alloc(0);
    }
  }
  if (carry.length > 0) yield { bytes: carry, at: 0 };
}

function fill(reader: LogReader, chunk: Buffer, at: number): void {
  for (let done = 0; done < chunk.length;) {
    const read = reader.readSync(chunk.subarray(done), at + done);
    if (read === 0) throw new Error('The file became shorter while it was read.');
    done += read;
  }
}
