/** Compresses rotated files, beside writers that may still be at the end of one. */
import fs from 'node:fs';
import {
  blockSize,
  type LogReader,
  packBlock,
  packedName,
  plainReader,
  type RotatedFile,
  rotatedFiles,
  syncFolder,
  tryLockFile,
} from './files.ts';

/**
 * Milliseconds without a write before a rotated file is packed. A writer looks which file it has before each write, so it
 * may be in the middle of one when the file is rotated: for some milliseconds, not for a minute.
 */
const settledAfterMs = 60_000;

/**
 * Packs the rotated files that are settled, oldest first; answers how many. Does nothing where another process is at it.
 * Interrupted, it leaves the plain file, beside a packed one that does not count, and the next call begins anew.
 *
 * @param now Milliseconds since the epoch, of the same clock as the times of files.
 * @param signal Interrupts it; then it rejects with the signal's reason.
 */
export async function packRotated(file: string, now: number, signal?: AbortSignal): Promise<number> {
  const plain = rotatedFiles(file).filter(({ packed }) => !packed);
  if (plain.length === 0) return 0;
  const lock = tryLockFile(`${file}.pack.lock`);
  if (lock === undefined) return 0;
  try {
    let count = 0;
    for (const rotated of plain) {
      const stats = fs.statSync(rotated.path, { throwIfNoEntry: false });
      // A second name: its rotation was interrupted, and lines are still appended to it.
      if (stats === undefined || stats.size === 0 || stats.nlink > 1 || now - stats.mtimeMs < settledAfterMs)
        continue;
      await pack(file, rotated, signal);
      count += 1;
    }
    return count;
  } finally {
    lock.release();
  }
}

async function pack(
  file: string,
  { path, number }: RotatedFile,
  signal: AbortSignal | undefined,
): Promise<void> {
  const target = packedName(file, number);
  const draft = `${target}.new`;
  const reader = plainReader(fs.openSync(path, 'r'));
  try {
    fs.rmSync(draft, { force: true });
    const to = await fs.promises.open(draft, 'wx', 0o600);
    let packed: number;
    try {
      packed = await packFrom(reader, 0, to, signal);
      await to.sync();
    } finally {
      await to.close();
    }
    const { mtime } = fs.statSync(path);
    fs.utimesSync(draft, mtime, mtime);
    fs.renameSync(draft, target);
    syncFolder(target);
    // The file counts until its name is gone; what was appended to it until then is packed behind.
    fs.unlinkSync(path);
    if (reader.size() > packed) {
      const more = await fs.promises.open(target, 'a');
      try {
        await packFrom(reader, packed, more);
        await more.sync();
      } finally {
        await more.close();
      }
    }
  } finally {
    reader.close();
  }
}

/** Packs the text from offset `at` to its end; answers where that is. */
async function packFrom(
  reader: LogReader,
  at: number,
  to: fs.promises.FileHandle,
  signal?: AbortSignal,
): Promise<number> {
  const chunk = Buffer.allocUnsafe(blockSize);
  for (;;) {
    signal?.throwIfAborted();
    let filled = 0;
    while (filled < chunk.length) {
      const read = await reader.read(chunk.subarray(filled), at + filled);
      if (read === 0) break;
      filled += read;
    }
    if (filled === 0) return at;
    await to.write(await packBlock(chunk.subarray(0, filled)));
    at += filled;
  }
}
