/** The file to which lines are appended, by several writers at once. */
import fs from 'node:fs';
import type { DiskCalls } from './disk.ts';
import { piecesOf, readPiece, type ChainMac } from './line.ts';
import { checkLogFile, idOf, rotatedAs, rotatedFiles, syncFolder } from './log-files.ts';
import { readBackwards } from './read-lines.ts';
import { plainReader } from './source.ts';

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
  const id = idOf(fs.fstatSync(fd, { bigint: true })) ?? '';
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
      return stats !== undefined && idOf(stats) === id ? stats.size : undefined;
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
