import { randomUUID } from 'node:crypto';
import { open, realpath, rename, stat, unlink } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { SidekeyError } from '../errors.ts';
import { syncFolder } from '../private-file.ts';
import { systemCode } from '../system-error.ts';
import { displayName } from './problem.ts';
import { parseConfig, readConfigText, type LoadOptions } from './load.ts';

/** What the new text is checked with. */
export interface WriteConfigOptions extends LoadOptions {
  /** The text that the new one was made from. Where the file holds another by now, nothing is written. */
  readonly previous?: string | undefined;
}

/**
 * Replaces the content of a config file in one step: a reader sees the old text or the new one, also after a crash.
 * The new text must load first, so that a bad edit changes nothing. Symlinks are followed; mode and owner stay.
 *
 * @throws SidekeyError as `loadConfig` for the new text; `file_unwritable` where it cannot be written, or was
 * changed by somebody else since `previous` was read.
 */
export async function writeConfigAtomically(
  file: string,
  text: string,
  options: WriteConfigOptions,
): Promise<void> {
  const cwd = options.cwd ?? process.cwd();
  const path = resolve(cwd, file);
  const name = displayName(path, cwd);
  await parseConfig(text, path, options);
  const current = await readConfigText(path, options);
  if (options.previous !== undefined && current !== options.previous) {
    throw new SidekeyError('file_unwritable', `${name} was changed by somebody else at the same time.`, {
      hint: 'run the command again',
    });
  }
  try {
    const target = await realpath(path);
    await replaceFile(target, text);
  } catch (cause) {
    throw new SidekeyError('file_unwritable', `${name} cannot be written (${systemCode(cause)}).`, {
      hint: 'make the file and its folder writable, or edit the source that it is made from',
      cause,
    });
  }
}

async function replaceFile(target: string, text: string): Promise<void> {
  const { mode, uid, gid } = await stat(target);
  const temporary = join(dirname(target), `.${basename(target)}.${randomUUID()}`);
  try {
    const handle = await open(temporary, 'wx', 0o600);
    try {
      await handle.writeFile(text);
      const made = await handle.stat();
      // Only root may give a file away; for anybody else the owner is right already, or cannot be helped.
      if (made.uid !== uid || made.gid !== gid) await handle.chown(uid, gid).catch(() => undefined);
      await handle.chmod(mode & 0o777);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, target);
  } finally {
    await unlink(temporary).catch(() => undefined);
  }
  // Makes the rename itself durable; not every system lets a folder be synced, and none needs it for correctness.
  await syncFolder(dirname(target)).catch(() => undefined);
}
