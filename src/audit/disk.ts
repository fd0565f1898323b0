/** The calls of the file system that fail where a disk is full or broken, in one place so that a test can make them fail. */
import fs from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';

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
