/** One file of the log, open for reading: the text of a packed file at the same offsets as before it was packed. */
import fs from 'node:fs';
import { openPacked } from './packed.ts';

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
export function packedReader(fd: number): LogReader {
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
