import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';

/** What a file said, and who may touch it, of one and the same open file. */
export interface FileContent {
  /** At most one byte more than was asked for: then there is more. */
  readonly bytes: Buffer;
  /** As `stat` has it. */
  readonly mode: number;
}

/**
 * Reads a file that somebody named. Null: what stands there is none; a pipe or a device might block or never end. Synchronous,
 * so only for small ones.
 *
 * @throws the error of the system where it cannot be opened or read
 */
export function readRegularFile(path: string, most: number): FileContent | null {
  // Not blocking: opening a FIFO would otherwise wait for somebody to write.
  const file = openSync(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
  try {
    // Asked of the open file, so that nobody swaps it between the question and the reading.
    const stat = fstatSync(file);
    if (!stat.isFile()) return null;
    let buffer = Buffer.alloc(Math.min(stat.size, most) + 1);
    let length = 0;
    for (;;) {
      const count = readSync(file, buffer, length, buffer.length - length, null);
      length += count;
      if (count === 0 || length > most) break;
      // It grew, or is of a file system that knows no sizes.
      if (length === buffer.length) buffer = Buffer.concat([buffer], most + 1);
    }
    return { bytes: buffer.subarray(0, length), mode: stat.mode };
  } finally {
    closeSync(file);
  }
}
