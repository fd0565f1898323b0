import { lstat, readdir, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { SidekeyError } from '../errors.ts';
import { isWritableByAll } from '../private-file.ts';
import { shellWord } from '../shell-word.ts';
import { isSystemError } from '../system-error.ts';

/**
 * The files of the user's own provider definitions; none where there is no such folder. A definition says where refresh
 * tokens go and may name a command, so the folder counts for as much as the config file: in a place that is open to all,
 * such as /tmp, the file is its owner's alone, and a folder beside it may be anybody's.
 *
 * @param me the user of this process
 * @throws SidekeyError `permissions_unsafe` where a stranger made the folder or one of the files, or may write there
 */
export async function ownProviderFiles(
  folder: string,
  me = process.getuid?.() ?? 0,
): Promise<readonly string[]> {
  let files: readonly string[];
  try {
    files = await readdir(folder);
  } catch (error) {
    if (isSystemError(error, 'ENOENT', 'ENOTDIR')) return [];
    throw error;
  }
  const trusted = [me, 0, (await stat(dirname(folder))).uid];
  for (const path of [folder, ...files.map((file) => join(folder, file))]) {
    // A link is its maker's, whatever it leads to.
    // One that leads nowhere fails when it is read.
    for (const facts of [await lstat(path), await stat(path).catch(() => null)]) {
      if (facts === null || !isAStrangers(facts, trusted)) continue;
      throw new SidekeyError(
        'permissions_unsafe',
        `Other users of this machine can write to ${path}, which says where tokens are sent.`,
        { hint: `see that it is yours and what it says, then: chmod go-w ${shellWord(path)}` },
      );
    }
  }
  return files;
}

/**
 * Whether somebody else decides what a file or folder says: its owner is none of those who are trusted, or everybody may
 * write to it.
 */
export function isAStrangers(
  { mode, uid }: { readonly mode: number; readonly uid: number },
  trusted: readonly number[],
): boolean {
  const isLink = (mode & 0o170000) === 0o120000;
  return !trusted.includes(uid) || (!isLink && isWritableByAll(mode));
}
