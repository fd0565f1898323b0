/**
 * The index of a rotated file, `<file>.000001.index`. For each block of lines, it has the range of times, a
 * Bloom filter of the values that a query may filter by, and the exchanges that only begin or only end in the
 * block. A query reads the blocks that may match, or the whole file without an index. The index depends only
 * on the text of the file, and `verifyAudit` builds it again: a changed index cannot hide a line unnoticed.
 */
import fs from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { isSystemError } from '../lib/errors.ts';
import { type KeyCondition, keysOf } from './filter.ts';
import { endsExchange } from './join.ts';
import { parseLine, piecesOf } from './piece.ts';
import { rotatedName } from './log-files.ts';
import { type LogReader, readBlock } from './reader.ts';

export function indexName(file: string, number: number): string {
  return `${rotatedName(file, number)}.index`;
}

export interface IndexedBlock {
  /** Bytes of the block. */
  readonly size: number;
  /** First and last time of the lines, in ms since the epoch; Infinity and -Infinity without times. */
  readonly first: number;
  readonly last: number;
  /** Marks (see `markOf`) of exchanges: access here and end later; end here and access earlier. */
  readonly opened: readonly number[];
  readonly ended: readonly number[];
  /** Reports whether a line of the block may have one of the keys of a condition. */
  mayHave(condition: KeyCondition): boolean;
}

const magic = Buffer.from('sidekey-index-1\n');
/** Bytes of a record before its lists: size, first, last, and the lengths of the lists. */
const recordHead = 4 + 8 + 8 + 2 + 2 + 4;
const markSize = 6;
/** Bits of the Bloom filter per key, and bits that a key sets: one false positive in 120 keys. */
const bitsPerKey = 10;
const bitsSet = 7;

/** Returns two 32-bit hashes of a text (FNV-1a, two primes). A forged collision only reads one more block. */
function hashesOf(text: string): readonly [number, number] {
  let [one, two] = [0x811c9dc5, 0x9747b28c];
  for (let at = 0; at < text.length; at += 1) {
    const unit = text.charCodeAt(at);
    one = Math.imul(one ^ unit, 0x01000193);
    two = Math.imul(two ^ unit, 0x5bd1e995) ^ (two >>> 15);
  }
  return [one >>> 0, two >>> 0];
}

/** Returns 48 bits of a hash of the id of an exchange. */
export function markOf(exchange: string): number {
  const [one, two] = hashesOf(exchange);
  return one * 0x10000 + (two & 0xffff);
}

/** Returns the bits of a key in a Bloom filter of `bits` bits. */
function placesOf(key: string, bits: number): number[] {
  const [one, two] = hashesOf(key);
  return Array.from({ length: bitsSet }, (_, turn) => ((one + turn * (two | 1)) >>> 0) % bits);
}

function recordOf(text: Buffer): Buffer {
  const keys = new Set<string>();
  const opened = new Set<number>();
  const ended = new Set<number>();
  let [first, last] = [Infinity, -Infinity];
  for (const piece of linesOf(text)) {
    const line = parseLine(piece);
    if (line === undefined) continue;
    const time = Date.parse(line.time);
    if (time < first) first = time;
    if (time > last) last = time;
    for (const key of keysOf(line)) keys.add(key);
    const mark = markOf(line.exchange ?? '');
    if (line.event === 'access') opened.add(mark);
    else if (endsExchange(line) && !opened.delete(mark)) ended.add(mark);
  }
  const bloom = Buffer.alloc(Math.max(1, Math.ceil((keys.size * bitsPerKey) / 8)));
  for (const key of keys)
    for (const place of placesOf(key, bloom.length * 8)) bloom[place >> 3]! |= 1 << (place & 7);
  const record = Buffer.alloc(recordHead + (opened.size + ended.size) * markSize + bloom.length);
  let at = record.writeUInt32LE(text.length);
  at = record.writeDoubleLE(first, at);
  at = record.writeDoubleLE(last, at);
  at = record.writeUInt16LE(opened.size, at);
  at = record.writeUInt16LE(ended.size, at);
  at = record.writeUInt32LE(bloom.length, at);
  for (const mark of [...opened, ...ended]) at = record.writeUIntLE(mark, at, markSize);
  bloom.copy(record, at);
  return record;
}

/** Yields the pieces of the lines of a text. */
export function* linesOf(text: Buffer): Generator<Buffer> {
  for (let from = 0; from < text.length;) {
    const newline = text.indexOf(0x0a, from);
    const to = newline === -1 ? text.length : newline;
    yield* piecesOf(text.subarray(from, to));
    from = to + 1;
  }
}

/**
 * Makes the bytes of an index of the text up to `end`.
 * @throws PackedDamage
 */
export async function makeIndex(reader: LogReader, end: number, signal?: AbortSignal): Promise<Buffer> {
  const records: Buffer[] = [magic];
  for (let at = 0; at < end;) {
    // Yields to other work: a block takes some milliseconds of this thread.
    await setImmediate();
    signal?.throwIfAborted();
    const text = await readBlock(reader, at, end);
    if (text.length === 0) break;
    records.push(recordOf(text));
    at += text.length;
  }
  return Buffer.concat(records);
}

interface FileIndex {
  readonly bytes: Buffer;
  readonly blocks: readonly IndexedBlock[];
  /** Bytes of text in the blocks. */
  readonly size: number;
}

/** Reads the index of a file; undefined if it is missing or cannot be read. */
export function readIndex(file: string, number: number): FileIndex | undefined {
  let bytes: Buffer;
  try {
    bytes = fs.readFileSync(indexName(file, number));
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return undefined;
    throw error;
  }
  if (!bytes.subarray(0, magic.length).equals(magic)) return undefined;
  const blocks: IndexedBlock[] = [];
  let size = 0;
  for (let at = magic.length; at < bytes.length;) {
    if (at + recordHead > bytes.length) return undefined;
    const opened = bytes.readUInt16LE(at + 20);
    const ended = bytes.readUInt16LE(at + 22);
    const bloomAt = at + recordHead + (opened + ended) * markSize;
    const next = bloomAt + bytes.readUInt32LE(at + 24);
    if (next > bytes.length || next === bloomAt) return undefined;
    const marks = (from: number, count: number) =>
      Array.from({ length: count }, (_, index) => bytes.readUIntLE(from + index * markSize, markSize));
    const bloom = bytes.subarray(bloomAt, next);
    const block: IndexedBlock = {
      size: bytes.readUInt32LE(at),
      first: bytes.readDoubleLE(at + 4),
      last: bytes.readDoubleLE(at + 12),
      opened: marks(at + recordHead, opened),
      ended: marks(at + recordHead + opened * markSize, ended),
      mayHave: ({ keys }) =>
        keys.some((key) =>
          placesOf(key, bloom.length * 8).every((place) => (bloom[place >> 3]! & (1 << (place & 7))) !== 0),
        ),
    };
    blocks.push(block);
    size += block.size;
    at = next;
  }
  return { bytes, blocks, size };
}
