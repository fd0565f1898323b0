/**
 * Reads what stands between newlines, forwards and backwards, in bounded memory: a line longer than `longest` is
 * given in parts (no writer writes one).
 */
import type { LogReader } from './source.ts';

/** Bytes; many times what the longest line can have. */
const longest = 262_144;
const newline = 0x0a;

/** What stands before a newline. */
export interface RawLine {
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
