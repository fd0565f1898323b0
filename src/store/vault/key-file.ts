import type { KeyObject } from 'node:crypto';
import { open, realpath, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { isSystemError, SidekeyError } from '../../lib/errors.ts';
import {
  createFile,
  isPrivateFile,
  isReplaceableByAll,
  isWritableByAll,
  makeFolder,
  replaceFile,
  syncFolder,
} from '../../lib/os.ts';
import { shellWord } from '../../lib/text.ts';
import { newMasterKey, type OpenKeySource, takeKey, withBytes } from './key-source.ts';

/** The form of the master key in its file. */
export interface KeyFormat {
  /** Returns the file for messages, with the other things that the key needs. */
  place(path: string): string;
  /** `passphrase`: as in `OpenKeySource`. */
  encode(key: KeyObject, passphrase?: () => Promise<string>): Promise<string>;
  /**
   * Decodes the text of a key file; null if it has another form.
   * @throws SidekeyError `key_mismatch`; other failures of the format
   */
  decode(text: string): Promise<Buffer | null>;
}

const introduction = [
  '# Sidekey master key. It opens every credential in the store: keep it private, and keep a copy in a safe place.',
  '# Without it, what the store holds is lost.',
];

/** The key as base64url. Lines that begin with `#` are for people. */
export const plainKey: KeyFormat = {
  place: (path) => `The key file ${path}`,
  encode: async (key) =>
    [...introduction, withBytes(key, (bytes) => bytes.toString('base64url')), ''].join('\n'),
  async decode(text) {
    const lines = text.split('\n').map((line) => line.trim());
    const [word = '', ...more] = lines.filter((line) => line !== '' && !line.startsWith('#'));
    const key = Buffer.from(word, 'base64url');
    // A 43rd character with stray bits was not written by Sidekey.
    return word.length === 43 && more.length === 0 && key.toString('base64url') === word ? key : null;
  },
};

/** Opens the source with the key file at `path`. `create` writes the file whole and never overwrites one. */
export function openKeyFile(path: string, format: KeyFormat): OpenKeySource {
  async function read(): Promise<KeyObject | null> {
    const text = await readPrivateFile(path);
    if (text === null) return null;
    const key = await format.decode(text);
    if (key === null) {
      throw new SidekeyError(
        'key_invalid',
        `The key file ${path} was changed, or is of another key source.`,
        {
          hint: `restore ${path} from your backup, or set "key" of the config to the source that made it`,
        },
      );
    }
    return takeKey(key);
  }
  return {
    read,
    async create() {
      const key = newMasterKey();
      const text = await format.encode(key);
      const isMade = await written(path, async (folder) => {
        const made = await createFile(path, text, 0o600);
        await syncFolder(folder);
        return made;
      });
      if (isMade) return key;
      // Another process was first.
      const stored = await read();
      if (stored !== null) return stored;
      throw new SidekeyError('key_invalid', `The key file ${path} was removed right after it was created.`, {
        hint: 'find what removes it, then start again',
      });
    },
    replace: async (key, passphrase) => writePrivateFile(path, await format.encode(key, passphrase)),
    place: format.place(path),
  };
}

/** Writes or replaces a file that only its user can use (0600). @throws as `written` */
export function writePrivateFile(path: string, text: string): Promise<void> {
  // A symbolic link stays; its target is replaced.
  return written(path, async () => replaceFile(await realpath(path).catch(() => path), text, 0o600));
}

/** Calls `write` in a created folder (0700). @throws SidekeyError `file_unwritable`, `permissions_unsafe` */
async function written<T>(path: string, write: (folder: string) => Promise<T>): Promise<T> {
  const folder = dirname(path);
  try {
    makeFolder(folder, 0o700);
    await checkFolders(path);
    return await write(folder);
  } catch (cause) {
    if (cause instanceof SidekeyError) throw cause;
    throw new SidekeyError('file_unwritable', `The key file ${path} cannot be written.`, {
      hint: `make ${folder} a folder that you can write to, or set another path of "key" in the config; then repeat the command`,
      cause,
    });
  }
}

/** Maximum bytes; a key file is smaller. */
const maxBytes = 4_096;

/** Reads a file only its user can use, or null. @throws SidekeyError `key_invalid`, `permissions_unsafe` */
export async function readPrivateFile(path: string): Promise<string | null> {
  try {
    await using file = await open(path, 'r');
    // Checks the open file, so that the checked file is the one that is read.
    const stats = await file.stat();
    if (!stats.isFile()) throw unusable(path, 'is no regular file');
    if (!isPrivateFile(stats)) {
      throw new SidekeyError('permissions_unsafe', `The key file ${path} can be used by other users.`, {
        hint: `chmod 600 ${shellWord(path)}`,
      });
    }
    await checkFolders(path, stats.uid);
    if (stats.size > maxBytes) throw unusable(path, 'is too long for a key');
    return await file.readFile('utf8');
  } catch (error) {
    if (error instanceof SidekeyError) throw error;
    if (isSystemError(error, 'ENOENT')) return null;
    throw unusable(path, 'cannot be read', error);
  }
}

/**
 * Refuses a folder in which others can replace or add the key. A link leads through two folders. The folder
 * of a Kubernetes Secret is sticky, and root owns it and the key: nobody else can make such a key.
 *
 * @param owner of the key; absent: the key is made now
 */
async function checkFolders(path: string, owner?: number): Promise<void> {
  const target = await realpath(path).catch(() => path);
  for (const folder of new Set([dirname(path), dirname(target)])) {
    const { mode, uid } = await stat(folder);
    const isOfRoot = owner === 0 && uid === 0 && process.getuid?.() !== 0;
    const isOpen = isOfRoot ? isReplaceableByAll(mode) : isWritableByAll(mode);
    if (isOpen) {
      throw new SidekeyError(
        'permissions_unsafe',
        `Every user can write to ${folder}, the folder of the master key.`,
        { hint: `chmod 700 ${shellWord(folder)}` },
      );
    }
  }
}

function unusable(path: string, why: string, cause?: unknown): SidekeyError {
  return new SidekeyError('key_invalid', `The key file ${path} ${why}.`, {
    hint: `make ${path} a file that only the user of Sidekey can read, or restore it from your backup`,
    cause,
  });
}
