import fs from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { constants, crc32, deflateRaw, inflateRawSync } from 'node:zlib';
import Database from 'better-sqlite3';
import { SidekeyError } from '../lib/errors.ts';
import { isPrivate } from '../lib/files.ts';
import { shellWord } from '../lib/text.ts';
import { type ChainMac, piecesOf, readPiece } from './line.ts';

/**
 * A lock that one holder on a machine has, and that the operating system takes back when the holder's process dies, even
 * by kill -9: an exclusive transaction on an empty SQLite database. SQLite tells connections of one process apart
 * too, which bare file locks do not.
 *
 * Never open a lock file in any other way: POSIX drops a process's locks on a file as soon as it closes any
 * descriptor of it (sqlite.org/lockingv3.html, "How To Corrupt").
 */

/** A lock that is held. */
export interface FileLock {
  /** Whether the lock file is still the one at its path. If not, another process may hold a lock of this name. */
  held(): boolean;
  /** Gives the lock back. The file stays: removing it would race with whoever takes it next. */
  release(): void;
}

/**
 * Takes the lock at `path` (made, 0600, where it does not exist); undefined where another holds it. Never waits.
 * @throws where the file cannot be made or is no lock file.
 */
export function tryLockFile(path: string): FileLock | undefined {
  const db = new Database(path, { timeout: 0 });
  try {
    db.pragma('journal_mode = MEMORY');
    db.pragma('locking_mode = EXCLUSIVE');
    db.exec('BEGIN EXCLUSIVE');
    fs.chmodSync(path, 0o600);
    const id = fileId(fs.statSync(path, { bigint: true }));
    return {
      held: () => fileId(fs.statSync(path, { bigint: true, throwIfNoEntry: false })) === id,
      release: () => db.close(),
    };
  } catch (error) {
    db.close();
    if (String((error as { code?: unknown }).code).startsWith('SQLITE_BUSY')) return undefined;
    throw error;
  }
}

/** The file to which lines are appended, by several writers at once. */

/** The open file, known by its id and not by its name alone. */
export interface LiveFile {
  readonly id: string;
  /** The number that it has or will have as a rotated file. */
  readonly number: number;
  /** Size of the file now, where it is still the one at its path. */
  sizeInPlace(): bigint | undefined;
  /** Size of the file now; undefined where its last name is gone and what was written with it. */
  sizeWhereNamed(): bigint | undefined;
  /** When its first line was written, in milliseconds since the epoch; undefined where it has none that can be read. */
  begunAt(): number | undefined;
  /** Appends; answers how many bytes were written. */
  append(text: string): number;
  /**
   * Where the text, appended when the file had `before` bytes, begins. The file has `after` bytes now, and others may have
   * appended too. Undefined where the file system does not append whole writes.
   */
  find(text: string, before: bigint, after: bigint): number | undefined;
  /** Whether the byte before `end` ends a line. */
  endsLineAt(end: bigint): boolean;
  /** How many bytes of the line that has the byte before `end` are no line: what a writer left that died in a write. */
  tornBytesAt(end: bigint, mac: ChainMac): number;
  /** Makes durable what was appended. */
  sync(): Promise<void>;
  /** Syncs and closes. */
  close(): Promise<void>;
}

/**
 * Opens (or makes, 0600) the file at `path`.
 * @throws SidekeyError `permissions_unsafe`, `file_unwritable`; errors of the file system as they are.
 */
export function openLiveFile(path: string, calls: DiskCalls): LiveFile {
  const fd = fs.openSync(path, 'a+', 0o600);
  try {
    checkLogFile(path, fs.fstatSync(fd));
  } catch (error) {
    fs.closeSync(fd);
    throw error;
  }
  const id = fileId(fs.fstatSync(fd, { bigint: true })) ?? '';
  // In this order: a file that is rotated in between is found among the rotated ones.
  const next = (rotatedFiles(path).at(-1)?.number ?? 0) + 1;
  const number = rotatedAs(path, id)?.number ?? next;
  let syncing: Promise<void> = Promise.resolve();
  let fresh = fs.fstatSync(fd).size === 0;
  const oneByte = Buffer.alloc(1);
  const reader = plainReader(fd);

  function sync(): Promise<void> {
    // One after another, so that close() waits for all of them: a descriptor closed too early may be another file's.
    syncing = syncing
      .catch(() => undefined)
      .then(async () => {
        await calls.sync(fd);
        if (fresh) syncFolder(path);
        fresh = false;
      });
    return syncing;
  }

  return {
    id,
    number,
    sizeInPlace() {
      const stats = fs.statSync(path, { bigint: true, throwIfNoEntry: false });
      return stats !== undefined && fileId(stats) === id ? stats.size : undefined;
    },
    sizeWhereNamed() {
      const { nlink, size } = fs.fstatSync(fd, { bigint: true });
      return nlink === 0n ? undefined : size;
    },
    begunAt() {
      const start = Buffer.alloc(128);
      const read = fs.readSync(fd, start, 0, start.length, 0);
      const time = /"time":"([^"]*)"/.exec(start.toString('latin1', 0, read))?.[1];
      return time === undefined || Number.isNaN(Date.parse(time)) ? undefined : Date.parse(time);
    },
    append: (text) => calls.write(fd, text),
    find(text, before, after) {
      const since = Buffer.alloc(Number(after - before));
      const read = fs.readSync(fd, since, 0, since.length, before);
      const at = since.subarray(0, read).indexOf(text);
      return at === -1 ? undefined : Number(before) + at;
    },
    endsLineAt(end) {
      if (end === 0n) return true;
      fs.readSync(fd, oneByte, 0, 1, end - 1n);
      return oneByte[0] === 0x0a;
    },
    tornBytesAt(end, mac) {
      const size = Number(fs.fstatSync(fd, { bigint: true }).size);
      for (const { bytes, at } of readBackwards(reader, size)) {
        if (at >= Number(end)) continue;
        return piecesOf(bytes)
          .filter((piece) => readPiece(piece, mac).kind !== 'line')
          .reduce((sum, piece) => sum + piece.length, 0);
      }
      return 0;
    },
    sync,
    async close() {
      try {
        await sync();
      } finally {
        fs.closeSync(fd);
      }
    },
  };
}

/** The calls of the file system that fail where a disk is full or broken, in one place so that a test can make them fail. */

/** The calls; a test gives others. */
export interface DiskCalls {
  /** Appends; answers how many bytes were written, fewer than given where the disk took only a part. */
  write(fd: number, text: string): number;
  /** Overwrites bytes at a place; answers how many were written. */
  writeAt(fd: number, bytes: Uint8Array, position: number): number;
  /** Makes what was written durable. */
  sync(fd: number): Promise<void>;
}

/** The real ones. */
export const disk: DiskCalls = {
  write: (fd, text) => fs.writeSync(fd, text),
  writeAt: (fd, bytes, position) => fs.writeSync(fd, bytes, 0, bytes.length, position),
  sync: promisify(fs.fdatasync),
};

/** Bytes that are free for this user on the disk of the log; null where the system does not say. */
export function freeBytes(file: string): number | null {
  try {
    const { bavail, bsize } = fs.statfsSync(path.dirname(file));
    return bavail * bsize;
  } catch {
    return null;
  }
}

/**
 * Rotated files, compressed: `<file>.000001.gz`. What `gunzip` and `zcat` read (RFC 1952), as blocks of their own, so
 * that a place in the middle is found without inflating what stands before it. The offsets of the text stay those of
 * the file before it was packed.
 *
 * Every byte of it is checked: the header is one fixed text, and its extra field (RFC 1952 §2.3.1.1) has the size of the
 * block and a CRC-32 of its compressed bytes, for deflate itself ignores some bits. Who can compute a CRC can change
 * a block: that is what the chain of its lines is for.
 */

/** Bytes of text in a block: inflated within a millisecond. */
export const blockSize = 262_144;

/** ID1 ID2, CM deflate, FLG.FEXTRA, no time, no flags, OS unknown; XLEN 12: subfield `SK`, 8 bytes. */
const fixedHeader = Buffer.from('1f8b08040000000000ff0c00534b0800', 'hex');
const headerSize = fixedHeader.length + 8;
/** CRC-32 and size of the text (RFC 1952 §2.3.1). */
const trailerSize = 8;

const deflate = promisify(deflateRaw);

/** A packed file that is not as it was written. */
export class PackedDamage extends Error {
  override readonly name = 'PackedDamage';
}

/** One block of a packed file, for `text` of at most `blockSize` bytes. */
export async function packBlock(text: Uint8Array): Promise<Buffer> {
  const body = await deflate(text, { level: constants.Z_DEFAULT_COMPRESSION });
  const block = Buffer.alloc(headerSize + body.length + trailerSize);
  fixedHeader.copy(block);
  block.writeUInt32LE(body.length, fixedHeader.length);
  block.writeUInt32LE(crc32(body), fixedHeader.length + 4);
  body.copy(block, headerSize);
  block.writeUInt32LE(crc32(text), headerSize + body.length);
  block.writeUInt32LE(text.length, headerSize + body.length + 4);
  return block;
}

interface Block {
  /** Where its header stands in the packed file. */
  readonly at: number;
  readonly bodySize: number;
  /** Where its text stands in the whole text, and how long it is. */
  readonly textAt: number;
  readonly textSize: number;
}

/** The text of a packed file. */
interface PackedText {
  /** Bytes of the text as far as its blocks can be told apart. */
  readonly size: number;
  /** What is wrong from `size` on; undefined where the file ends as it was written. */
  readonly damage: PackedDamage | undefined;
  /**
   * Copies text from offset `at` on; answers how many bytes, 0 at the end.
   * @throws PackedDamage
   */
  read(into: Buffer, at: number): number;
}

/** Finds the blocks of the packed file that is open as `fd`. Keeps one inflated block in memory. */
export function openPacked(fd: number): PackedText {
  const { blocks, size, damage } = findBlocks(fd);
  let inflated: { block: Block; text: Buffer } | undefined;

  function blockAt(at: number): Block | undefined {
    let [low, high] = [0, blocks.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      const { textAt, textSize } = blocks[middle] ?? { textAt: 0, textSize: 0 };
      if (textAt + textSize > at) high = middle;
      else low = middle + 1;
    }
    return blocks[low];
  }

  return {
    size,
    damage,
    read(into, at) {
      const block = blockAt(at);
      if (block === undefined) {
        if (damage !== undefined && into.length > 0) throw damage;
        return 0;
      }
      if (inflated?.block !== block) inflated = { block, text: inflate(fd, block) };
      return inflated.text.copy(into, 0, at - block.textAt);
    },
  };
}

function findBlocks(fd: number): { blocks: Block[]; size: number; damage: PackedDamage | undefined } {
  const end = fs.fstatSync(fd).size;
  const header = Buffer.alloc(headerSize);
  const trailer = Buffer.alloc(trailerSize);
  const blocks: Block[] = [];
  let textAt = 0;
  for (let at = 0; at < end;) {
    const isWhole =
      fs.readSync(fd, header, 0, headerSize, at) === headerSize &&
      header.subarray(0, fixedHeader.length).equals(fixedHeader);
    const bodySize = isWhole ? header.readUInt32LE(fixedHeader.length) : 0;
    const trailerAt = at + headerSize + bodySize;
    if (!isWhole || fs.readSync(fd, trailer, 0, trailerSize, trailerAt) !== trailerSize) {
      return { blocks, size: textAt, damage: new PackedDamage('a block of it was changed or cut off') };
    }
    const textSize = trailer.readUInt32LE(4);
    if (textSize === 0 || textSize > blockSize) {
      return { blocks, size: textAt, damage: new PackedDamage('the size of a block was changed') };
    }
    blocks.push({ at, bodySize, textAt, textSize });
    textAt += textSize;
    at = trailerAt + trailerSize;
  }
  return { blocks, size: textAt, damage: undefined };
}

function inflate(fd: number, { at, bodySize, textSize }: Block): Buffer {
  const bytes = Buffer.alloc(headerSize + bodySize + trailerSize);
  fs.readSync(fd, bytes, 0, bytes.length, at);
  const body = bytes.subarray(headerSize, headerSize + bodySize);
  if (crc32(body) !== bytes.readUInt32LE(fixedHeader.length + 4)) {
    throw new PackedDamage('the bytes of a block were changed');
  }
  let text: Buffer;
  try {
    text = inflateRawSync(body, { maxOutputLength: blockSize });
  } catch (cause) {
    throw new PackedDamage('a block of it cannot be inflated', { cause });
  }
  if (text.length !== textSize || crc32(text) !== bytes.readUInt32LE(headerSize + bodySize)) {
    throw new PackedDamage('the text of a block is not what was packed');
  }
  return text;
}

/**
 * Reads what stands between newlines, forwards and backwards, in bounded memory: a line longer than `longest` is
 * given in parts (no writer writes one).
 */

/** Bytes; many times what the longest line can have. */
const longest = 262_144;
const newline = 0x0a;

/** What stands before a newline. */
interface RawLine {
  /** Without the newline. Valid until the next step of the reader. */
  readonly bytes: Buffer;
  /** Counts from 1. */
  readonly number: number;
  /** Offset of its first byte in the text of the file. */
  readonly at: number;
}

/** The lines of the first `size` bytes of an open file, some at a time. The last may lack its newline. */
export async function* readForwards(reader: LogReader, size: number): AsyncGenerator<RawLine[]> {
  let carry = Buffer.alloc(0);
  let number = 0;
  let at = 0;
  while (at < size) {
    const chunk = Buffer.allocUnsafe(Math.min(longest, size - at));
    const read = await reader.read(chunk, at);
    if (read === 0) break;
    at += read;
    const text =
      carry.length === 0 ? chunk.subarray(0, read) : Buffer.concat([carry, chunk.subarray(0, read)]);
    const start = at - text.length;
    const lines: RawLine[] = [];
    let from = 0;
    for (let to = text.indexOf(newline); to !== -1; to = text.indexOf(newline, from)) {
      lines.push({ bytes: text.subarray(from, to), number: (number += 1), at: start + from });
      from = to + 1;
    }
    carry = text.subarray(from);
    if (carry.length > longest) {
      lines.push({ bytes: carry, number: number + 1, at: start + from });
      carry = Buffer.alloc(0);
    }
    yield lines;
  }
  if (carry.length > 0) yield [{ bytes: carry, number: number + 1, at: at - carry.length }];
}

/** The lines before `end`, last first. The first given may lack its newline. */
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
    if (carry.length > longest) {
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

/**
 * The files of one log, in the order in which they were written: `<file>.000001`, `<file>.000002` … and `<file>`, to
 * which lines are appended. A rotated file may be packed (`<file>.000001.gz`), and is never overwritten.
 */

/** Tells one file from another, whatever it is called. Undefined for no file. */
export function fileId(stats: fs.BigIntStats | undefined): string | undefined {
  return stats === undefined ? undefined : `${stats.dev}:${stats.ino}`;
}

/** The name of the `number`th rotated file; names sort in order. */
export function rotatedName(file: string, number: number): string {
  return `${file}.${String(number).padStart(6, '0')}`;
}

/** A file that is written to no more. */
export interface RotatedFile {
  readonly path: string;
  /** Counts from 1 without a gap. */
  readonly number: number;
  readonly packed: boolean;
}

const packedSuffix = '.gz';

/** The name of a rotated file once it is packed. */
export function packedName(file: string, number: number): string {
  return `${rotatedName(file, number)}${packedSuffix}`;
}

/** The rotated files, oldest first. */
export function rotatedFiles(file: string): RotatedFile[] {
  const folder = path.dirname(file);
  const prefix = `${path.basename(file)}.`;
  let names: string[];
  try {
    names = fs.readdirSync(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
  const found = new Map<number, RotatedFile>();
  for (const name of names) {
    if (!name.startsWith(prefix)) continue;
    const [, digits, suffix] = /^(\d{6,12})(\.gz)?$/.exec(name.slice(prefix.length)) ?? [];
    if (digits === undefined) continue;
    const each = { path: path.join(folder, name), number: Number(digits), packed: suffix !== undefined };
    // Where packing was interrupted both are there, and the plain one is whole.
    if (!each.packed || !found.has(each.number)) found.set(each.number, each);
  }
  return [...found.values()].toSorted((a, b) => a.number - b.number);
}

/** The rotated file that is the one with this id; undefined where none is. Looks at the newest first. */
export function rotatedAs(file: string, id: string): RotatedFile | undefined {
  return rotatedFiles(file).findLast(
    (rotated) => fileId(fs.statSync(rotated.path, { bigint: true, throwIfNoEntry: false })) === id,
  );
}

/** A file of the log and how much of it belongs to a snapshot. */
export interface LogSource {
  readonly path: string;
  /** Bytes of text; for a packed file infinite: all of it. */
  readonly size: number;
  readonly id: string;
  /** The number of a rotated file; of the one that is appended to, the number that it will have. */
  readonly number: number;
  readonly packed: boolean;
}

/**
 * The files of the log, oldest first, with sizes such that whatever line is within them, every earlier line of its chain
 * is too, even while writers append and rotate: sizes are taken from the newest file to the oldest, and a writer never
 * goes back to an older file.
 */
export function snapshotLog(file: string): LogSource[] {
  const current = sourceAt({ path: file, number: 0, packed: false });
  const files = rotatedFiles(file);
  const rotated = files.toReversed().flatMap((each) => sourceAt(each) ?? packedSince(file, each) ?? []);
  // Between the two steps of a rotation (and for good, where it was interrupted) a file has both names.
  const twice = current !== undefined && rotated.some(({ id }) => id === current.id);
  const next = (files.at(-1)?.number ?? 0) + 1;
  return [...rotated.toReversed(), ...(current === undefined || twice ? [] : [{ ...current, number: next }])];
}

function sourceAt({ path: at, number, packed }: RotatedFile): LogSource | undefined {
  const stats = fs.statSync(at, { bigint: true, throwIfNoEntry: false });
  // To open a pipe would wait for its other end, for ever.
  if (stats === undefined || !stats.isFile()) return undefined;
  return { path: at, size: packed ? Infinity : Number(stats.size), id: fileId(stats) ?? '', number, packed };
}

function packedSince(file: string, { number, packed }: RotatedFile): LogSource | undefined {
  return packed ? undefined : sourceAt({ path: packedName(file, number), number, packed: true });
}

/**
 * Opens a source for reading, also where it was rotated or packed since; undefined where it is gone.
 * @param file The path of the log.
 */
export function openSource(file: string, source: LogSource): LogReader | undefined {
  // By its number and not by its id alone: the id of a file that is gone may be another's by now.
  const fd = openAs(source.path, source.id) ?? openAs(rotatedName(file, source.number), source.id);
  if (fd !== undefined) return source.packed ? packedReader(fd) : plainReader(fd);
  if (source.packed) return undefined;
  const packed = openAs(packedName(file, source.number));
  return packed === undefined ? undefined : packedReader(packed);
}

/** Undefined where there is no such file, or another than the one with this id. */
function openAs(at: string, id?: string): number | undefined {
  let fd: number;
  try {
    fd = fs.openSync(at, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  if (id === undefined || fileId(fs.fstatSync(fd, { bigint: true })) === id) return fd;
  fs.closeSync(fd);
  return undefined;
}

/** Makes the name of a new file durable. Best effort: some file systems cannot sync a folder, and need not. */
export function syncFolder(file: string): void {
  try {
    const fd = fs.openSync(path.dirname(file), 'r');
    try {
      fs.fsyncSync(fd);
    } finally {
      fs.closeSync(fd);
    }
  } catch {
    // EINVAL, EISDIR or EPERM: not a file system or platform where this can be done.
  }
}

/**
 * Makes the folder of the log where it does not exist, and refuses one in which others could put files in its place.
 * @throws SidekeyError `permissions_unsafe`, `file_unwritable`.
 */
export function prepareFolder(file: string): void {
  const folder = path.dirname(path.resolve(file));
  let stats: fs.Stats;
  try {
    fs.mkdirSync(folder, { recursive: true, mode: 0o700 });
    stats = fs.statSync(folder);
  } catch (cause) {
    throw new SidekeyError('file_unwritable', `The folder of the audit log, ${folder}, cannot be made.`, {
      hint: 'Make that folder, or set audit.file in the config to a path in a folder of yours.',
      cause,
    });
  }
  if (!ours(stats)) {
    throw new SidekeyError(
      'permissions_unsafe',
      `The folder of the audit log, ${folder}, belongs to another user.`,
      {
        hint: 'Set audit.file in the config to a path in a folder of yours.',
      },
    );
  }
  if (!isWindows && (stats.mode & 0o022) !== 0) {
    throw new SidekeyError(
      'permissions_unsafe',
      `Other users may write to the folder of the audit log, ${folder}.`,
      {
        hint: `chmod go-w ${shellWord(folder)}`,
      },
    );
  }
}

/**
 * Refuses a log file that others may read or write.
 * @throws SidekeyError `permissions_unsafe`; `file_unwritable` where it is no regular file.
 */
export function checkLogFile(file: string, stats: fs.Stats): void {
  if (!stats.isFile()) {
    throw new SidekeyError('file_unwritable', `The audit log ${file} is not a regular file.`, {
      hint: 'Set audit.file in the config to the path of a file.',
    });
  }
  if (!ours(stats)) {
    throw new SidekeyError('permissions_unsafe', `The audit log ${file} belongs to another user.`, {
      hint: 'Set audit.file in the config to a path in a folder of yours.',
    });
  }
  if (!isPrivate(stats.mode)) {
    throw new SidekeyError('permissions_unsafe', `Other users may read or write the audit log ${file}.`, {
      hint: `chmod 600 ${shellWord(file)}`,
    });
  }
}

// Windows has no modes and no user ids: its access lists are inherited from the folder.
const isWindows = process.platform === 'win32';

/** Whether a file or folder is this user's, or the superuser's, who may do anything anyway. */
function ours(stats: fs.Stats): boolean {
  const uid = process.getuid?.();
  return uid === undefined || stats.uid === uid || stats.uid === 0;
}

/** One file of the log, open for reading: the text of a packed file at the same offsets as before it was packed. */

/** A file of the log, open for reading. */
export interface LogReader {
  /** Bytes of text that are there now. */
  size(): number;
  /**
   * Copies text from offset `at` on; answers how many bytes, 0 at the end.
   * @throws PackedDamage where a packed file is not as it was written.
   */
  readSync(into: Buffer, at: number): number;
  /** The same, without holding up the process where the disk is slow. */
  read(into: Buffer, at: number): Promise<number>;
  close(): void;
}

/** Takes over `fd`, which is open on a plain file of the log. */
export function plainReader(fd: number): LogReader {
  return {
    size: () => fs.fstatSync(fd).size,
    readSync: (into, at) => fs.readSync(fd, into, 0, into.length, at),
    read: (into, at) =>
      new Promise((resolve, reject) => {
        fs.read(fd, into, 0, into.length, at, (error, count) => {
          if (error === null) resolve(count);
          else reject(error);
        });
      }),
    close: () => fs.closeSync(fd),
  };
}

/** Takes over `fd`, which is open on a packed file of the log. */
function packedReader(fd: number): LogReader {
  const text = openPacked(fd);
  return {
    // What stands behind a damage is not known, so there is always something more to be read, and to fail at.
    size: () => (text.damage === undefined ? text.size : Number.MAX_SAFE_INTEGER),
    readSync: (into, at) => text.read(into, at),
    // Inflating takes a millisecond of this thread, so that others have a turn between the blocks.
    read: (into, at) =>
      new Promise((resolve, reject) => {
        setImmediate(() => {
          try {
            resolve(text.read(into, at));
          } catch (error) {
            reject(error);
          }
        });
      }),
    close: () => fs.closeSync(fd),
  };
}
