import { createSecretKey, hkdfSync, type KeyObject, randomBytes } from 'node:crypto';
import { mkdir, open, realpath, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { isSystemError, SidekeyError } from '../lib/errors.ts';
import { createFile, isPrivate, isWritableByAll, replaceFile, syncFolder } from '../lib/os.ts';
import { shellWord } from '../lib/text.ts';

/** An opened source. */
export interface OpenKeySource {
  /** Returns the key; null: there is none yet. */
  readonly read: () => Promise<KeyObject | null>;
  /** Makes and keeps a key for a new store; null: a person has to. Another process may be first. */
  readonly create: (() => Promise<KeyObject>) | null;
  /** Keeps a key in place of the one before; null: a person has to. */
  readonly replace: ((key: KeyObject) => Promise<void>) | null;
  /** Sentence for a person: what has to be done with the new key, or with the lost one. */
  readonly place: string;
}

/**
 * Takes the master key out of an environment variable: 32 bytes as base64, base64url or hex. The variable is deleted
 * from `env`, so that processes started later do not inherit the key.
 * @throws SidekeyError `secret_missing` where it is not set; `key_invalid` where it is not such a key.
 */
export function readKeyVariable(name: string, env: Record<string, string | undefined>): KeyObject {
  const text = env[name]?.trim();
  delete env[name];
  if (text === undefined || text === '') {
    throw new SidekeyError(
      'secret_missing',
      `The environment variable ${name} with the master key is not set.`,
      {
        hint: `Make a key once with "openssl rand -base64 32", keep it, and set ${name} to it.`,
      },
    );
  }
  return parseKey(text, `The environment variable ${name}`);
}

/**
 * Parses the text of a key: 32 bytes as base64, base64url or hex.
 * @throws SidekeyError `key_invalid`, which names `where` it comes from
 */
export function parseKey(text: string, where: string): KeyObject {
  const bytes = decodeKey(text.trim());
  if (bytes === null) {
    throw new SidekeyError(
      'key_invalid',
      `${where} gives no master key: ${keyLength} bytes as base64 or hex.`,
      {
        hint: 'make a key once with "openssl rand -base64 32", and keep it there',
      },
    );
  }
  try {
    return masterKey(bytes);
  } finally {
    bytes.fill(0);
  }
}

/** 64 characters can only be hex and 43 only base64, so no text has two readings. */
function decodeKey(text: string): Buffer | null {
  if (/^[0-9a-f]{64}$/i.test(text)) return Buffer.from(text, 'hex');
  if (!/^[A-Za-z0-9+/_-]{43}=?$/.test(text)) return null;
  return Buffer.from(text, 'base64');
}

/** More than any key file has: a longer file is not a key file. */
const maxLength = 4096;

const introduction = [
  '# Sidekey master key. It opens every credential in the store: keep it private, and keep a copy in a safe place.',
  '# Without it, what the store holds is lost.',
];

/**
 * Reads the master key from its file. Null: there is no such file.
 * @throws SidekeyError `permissions_unsafe` where others can read the file or replace it; `key_invalid` where it cannot
 * be read or holds no key.
 */
export async function readKeyFile(path: string): Promise<KeyObject | null> {
  const bytes = Buffer.alloc(maxLength + 1);
  try {
    await using file = await open(path, 'r');
    // Judged on the open file, so that it is the very one that is then read.
    const found = await file.stat();
    if (!found.isFile()) throw unreadable(path, 'not a regular file');
    if (!isPrivate(found.mode)) {
      throw new SidekeyError('permissions_unsafe', `The key file ${path} can be used by other users.`, {
        hint: `chmod 600 ${shellWord(path)}`,
      });
    }
    await checkFolders(path);
    const { bytesRead } = await file.read(bytes, 0, bytes.length, 0);
    const key = parse(bytes.subarray(0, bytesRead));
    if (key === null) {
      throw new SidekeyError('key_invalid', `The file ${path} does not hold a Sidekey master key.`, {
        hint: `Restore the key file from your backup: ${path}`,
      });
    }
    return key;
  } catch (error) {
    if (error instanceof SidekeyError) throw error;
    if (isSystemError(error, 'ENOENT')) return null;
    throw unreadable(path, error);
  } finally {
    bytes.fill(0);
  }
}

/**
 * Makes a new key and its file (0600, its folder 0700), and answers the key that the file then holds: where another
 * process was first, that one's. The file appears whole or not at all, and is never overwritten.
 * @throws SidekeyError `file_unwritable`, and what `readKeyFile` throws.
 */
export async function createKeyFile(path: string): Promise<KeyObject> {
  const folder = dirname(path);
  const key = randomBytes(keyLength);
  const text = keyText(key);
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await checkFolders(path);
    await createFile(path, text, 0o600);
    await syncFolder(folder);
  } catch (error) {
    if (error instanceof SidekeyError) throw error;
    throw new SidekeyError('file_unwritable', `The key file ${path} cannot be created.`, {
      hint: `Make ${folder} a folder that you can write to, or set another "key" path in the configuration.`,
      cause: error,
    });
  } finally {
    key.fill(0);
    text.fill(0);
  }
  const stored = await readKeyFile(path);
  if (stored !== null) return stored;
  throw new SidekeyError('key_invalid', `The key file ${path} was removed right after it was created.`, {
    hint: 'find what removes it, then start again',
  });
}

/** Replaces the key of the file at once, or creates the file: a crash leaves the old key or the new one. Throws `file_unwritable`. */
export async function replaceKeyFile(path: string, key: KeyObject): Promise<void> {
  const bytes = key.export();
  const text = keyText(bytes);
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    await checkFolders(path);
    // A link stays, and its target is replaced.
    await replaceFile(await realpath(path).catch(() => path), text, 0o600);
  } catch (cause) {
    if (cause instanceof SidekeyError) throw cause;
    throw new SidekeyError('file_unwritable', `The key file ${path} cannot be replaced.`, {
      hint: `make ${dirname(path)} a folder that you can write to, and repeat: sidekey key rotate`,
      cause,
    });
  } finally {
    bytes.fill(0);
    text.fill(0);
  }
}

function keyText(key: Buffer): Buffer {
  return Buffer.from([...introduction, key.toString('base64url'), ''].join('\n'));
}

/** Lines that begin with `#` are for people; of the others there is one, the key. */
function parse(bytes: Buffer): KeyObject | null {
  if (bytes.length > maxLength) return null;
  const lines = bytes
    .toString('latin1')
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'));
  const [text = '', ...more] = lines;
  if (more.length > 0 || !/^[A-Za-z0-9_-]{43}$/.test(text)) return null;
  const key = Buffer.from(text, 'base64url');
  try {
    // A 43rd character with stray bits was not written by Sidekey.
    return key.toString('base64url') === text ? masterKey(key) : null;
  } finally {
    key.fill(0);
  }
}

/** Refuses a folder in which others can replace the key. A link leads through two folders. */
export async function checkFolders(path: string): Promise<void> {
  const target = await realpath(path).catch(() => path);
  for (const folder of new Set([dirname(path), dirname(target)])) {
    const { mode } = await stat(folder);
    if (isWritableByAll(mode)) {
      throw new SidekeyError(
        'permissions_unsafe',
        `Every user can write to ${folder}, the folder of the master key.`,
        {
          hint: `chmod 700 ${shellWord(folder)}`,
        },
      );
    }
  }
}

function unreadable(path: string, cause: unknown): SidekeyError {
  return new SidekeyError('key_invalid', `The key file ${path} cannot be read.`, {
    hint: `Make ${path} readable only by the user that runs Sidekey.`,
    cause,
  });
}

/** Length of the master key, of every data key and of every derived key, in bytes (AES-256). */
export const keyLength = 32;

/** Length of a key id, in bytes. */
export const keyIdLength = 8;

/**
 * Puts the master key into a `KeyObject`, which keeps the bytes outside the JavaScript heap and prints none of them.
 * The bytes that were passed in are the caller's to wipe.
 * @throws SidekeyError `key_invalid` where there are not exactly 32 bytes, or all of them are zero (a wiped or
 * empty buffer, not a key).
 */
export function masterKey(bytes: Uint8Array): KeyObject {
  if (bytes.length !== keyLength) {
    throw new SidekeyError(
      'key_invalid',
      `A master key has ${keyLength} bytes; this one has ${bytes.length}.`,
    );
  }
  if (bytes.every((byte) => byte === 0)) {
    throw new SidekeyError('key_invalid', 'The master key is all zeros.');
  }
  return createSecretKey(bytes);
}

/**
 * A key for one purpose (HKDF-SHA256, RFC 5869, without a salt: the master key is uniformly random). The label keeps
 * the purposes apart, so that no two uses ever share a key.
 */
export function derivedKey(master: KeyObject, purpose: string): KeyObject {
  const bytes = new Uint8Array(hkdfSync('sha256', master, '', `sidekey/v1/${purpose}`, keyLength));
  const key = createSecretKey(bytes);
  bytes.fill(0);
  return key;
}

/** Returns the id of a master key: 8 bytes of a derivation that serves nothing else, so it gives nothing away. */
export function keyIdOf(master: KeyObject): Uint8Array {
  return new Uint8Array(hkdfSync('sha256', master, '', 'sidekey/v1/key-id', keyIdLength));
}
