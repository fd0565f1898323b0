import { existsSync } from 'node:fs';
import { type FileHandle, open, stat } from 'node:fs/promises';
import { SidekeyError, systemCode } from '../lib/errors.ts';

/** Options of a command that writes its result to a file. */
export interface OutputFileOptions {
  readonly output?: string;
  /** Replaces an existing file. */
  readonly force?: boolean;
}

/**
 * Opens the file of `--output`. Devices and pipes may exist.
 *
 * @throws SidekeyError `already_exists` unless `force` is given, `file_unwritable`
 */
export async function openOutputFile(path: string, force: boolean, mode = 0o666): Promise<FileHandle> {
  await refuseExisting(path, force);
  try {
    return await open(path, existsSync(path) ? 'w' : 'wx', mode);
  } catch (cause) {
    throw unwritable(path, cause);
  }
}

/** Throws as `openOutputFile` would, before a command does anything. */
export async function refuseExisting(path: string, force: boolean): Promise<void> {
  const found = await stat(path).catch(() => null);
  if (force || found?.isFile() !== true) return;
  throw new SidekeyError('already_exists', `${path} exists.`, {
    hint: 'give another path, or --force to replace the file',
  });
}

/** A failure to open or write the file of `--output`. */
export function unwritable(path: string, cause: unknown): SidekeyError {
  return new SidekeyError('file_unwritable', `${path} cannot be written (${systemCode(cause)}).`, {
    hint: 'name a file in a folder that you can write to',
    cause,
  });
}
