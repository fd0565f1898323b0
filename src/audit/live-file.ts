import fs from 'node:fs';
import { isSystemError } from '../lib/errors.ts';
import { type ChainMac, piecesOf, readPiece } from './line.ts';
import {
  checkLogFile,
  type DiskCalls,
  fileId,
  fileIdAt,
  rotatedAs,
  rotatedFiles,
  rotatedName,
  syncFolder,
  tryLockFile,
} from './log-files.ts';
import { plainReader, readBackwards } from './reader.ts';

/** The file to which several writers append, opened by one of them. It is known by its id, not by its name alone. */
export class LiveFile {
  readonly id: string;
  /** The number that it has or will have as a rotated file. */
  readonly number: number;
  readonly #path: string;
  readonly #fd: number;
  readonly #calls: DiskCalls;
  /** True if its name is not durable yet. */
  #isNew: boolean;
  #syncing: Promise<void> = Promise.resolve();

  /**
   * Opens (or creates, 0600) the file at `path`.
   * @throws SidekeyError `permissions_unsafe`, `file_unwritable`; errors of the file system as they are.
   */
  constructor(path: string, calls: DiskCalls) {
    const fd = fs.openSync(path, 'a+', 0o600);
    try {
      checkLogFile(path, fs.fstatSync(fd));
    } catch (error) {
      fs.closeSync(fd);
      throw error;
    }
    this.#path = path;
    this.#fd = fd;
    this.#calls = calls;
    this.id = fileId(fs.fstatSync(fd, { bigint: true })) ?? '';
    // In this order: a file that is rotated in between is found among the rotated ones.
    const next = (rotatedFiles(path).at(-1)?.number ?? 0) + 1;
    this.number = rotatedAs(path, this.id)?.number ?? next;
    this.#isNew = fs.fstatSync(fd).size === 0;
  }

  /** The size, if the path still names this file. */
  sizeInPlace(): bigint | undefined {
    const stats = fs.statSync(this.#path, { bigint: true, throwIfNoEntry: false });
    return fileId(stats) === this.id ? stats?.size : undefined;
  }

  /** The size; undefined if the file has no name any more, so that its content is lost. */
  sizeWhereNamed(): bigint | undefined {
    const { nlink, size } = fs.fstatSync(this.#fd, { bigint: true });
    return nlink === 0n ? undefined : size;
  }

  /** Returns when its first line was written, in milliseconds since the epoch; undefined if that cannot be read. */
  begunAt(): number | undefined {
    const start = Buffer.alloc(128);
    const read = fs.readSync(this.#fd, start, 0, start.length, 0);
    const time = Date.parse(/"time":"([^"]*)"/.exec(start.toString('latin1', 0, read))?.[1] ?? '');
    return Number.isNaN(time) ? undefined : time;
  }

  /** Appends; returns how many bytes were written. */
  append(text: string): number {
    return this.#calls.write(this.#fd, text);
  }

  /**
   * Finds text that was appended when the file had `before` bytes. It has `after` bytes now, and others may have appended
   * too. Undefined if the file system does not append atomically.
   */
  find(text: string, before: bigint, after: bigint): number | undefined {
    const since = Buffer.alloc(Number(after - before));
    const read = fs.readSync(this.#fd, since, 0, since.length, before);
    const at = since.subarray(0, read).indexOf(text);
    return at === -1 ? undefined : Number(before) + at;
  }

  /** Reports whether the byte before `end` is a newline. */
  endsLineAt(end: bigint): boolean {
    if (end === 0n) return true;
    const oneByte = Buffer.alloc(1);
    fs.readSync(this.#fd, oneByte, 0, 1, end - 1n);
    return oneByte[0] === 0x0a;
  }

  /** Counts the bytes in the line before `end` that are no line: their writer died in a write. */
  tornBytesAt(end: bigint, mac: ChainMac): number {
    const size = Number(fs.fstatSync(this.#fd, { bigint: true }).size);
    for (const { bytes, at } of readBackwards(plainReader(this.#fd), size)) {
      if (at >= Number(end)) continue;
      return piecesOf(bytes)
        .filter((piece) => readPiece(piece, mac).kind !== 'line')
        .reduce((sum, piece) => sum + piece.length, 0);
    }
    return 0;
  }

  /** Makes appended text durable. */
  sync(): Promise<void> {
    // Serialised, so that close() waits for all of them: the number of a closed descriptor may be reused.
    this.#syncing = this.#syncing
      .catch(() => undefined)
      .then(async () => {
        await this.#calls.sync(this.#fd);
        if (this.#isNew) syncFolder(this.#path);
        this.#isNew = false;
      });
    return this.#syncing;
  }

  /** Syncs and closes. */
  async close(): Promise<void> {
    try {
      await this.sync();
    } finally {
      fs.closeSync(this.#fd);
    }
  }
}

/**
 * Rotates the file at `file` if it still has this `id` and no other process rotates it. Returns its new path; undefined
 * if another writer rotates or has rotated it. Never overwrites a file. If interrupted, the file has both names, and the
 * next rotation completes it.
 */
export function rotate(file: string, id: string): string | undefined {
  const lock = tryLockFile(`${file}.rotate.lock`);
  if (lock === undefined) return undefined;
  try {
    if (fileIdAt(file) !== id) return undefined;
    const newest = rotatedFiles(file).at(-1);
    if (newest !== undefined && fileIdAt(newest.path) === id) {
      fs.unlinkSync(file);
      return newest.path;
    }
    const target = rotatedName(file, (newest?.number ?? 0) + 1);
    try {
      fs.linkSync(file, target);
    } catch (error) {
      if (!isSystemError(error, ...noLinks) || fs.existsSync(target)) throw error;
      fs.renameSync(file, target);
      return target;
    }
    fs.unlinkSync(file);
    return target;
  } finally {
    lock.release();
  }
}

/** Errors of file systems without hard links (FAT, some network and user-space ones). */
const noLinks = ['EPERM', 'ENOSYS', 'ENOTSUP', 'EOPNOTSUPP', 'EMLINK'];
