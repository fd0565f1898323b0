import { argon2, type KeyObject, randomBytes } from 'node:crypto';
import { open } from 'node:fs/promises';
import { promisify } from 'node:util';
import { z } from 'zod';
import { isSystemError, SidekeyError } from '../lib/errors.ts';
import { createFile, isPrivate, replaceFile } from '../lib/os.ts';
import { shellWord } from '../lib/text.ts';
import { openEnvelope, sealEnvelope, type WrapKey } from './envelope.ts';
import { checkFolders, keyIdOf, keyLength, masterKey, type OpenKeySource } from './key-source.ts';

/** Wraps the master key for its file, and unwraps it. */
export interface KeyWrapping {
  /** Text for a person: what the key needs besides the file. */
  readonly needs: string;
  /** Returns JSON that has no secret without what `needs` names. */
  wrap(key: Buffer): Promise<Readonly<Record<string, unknown>>>;
  /** @throws SidekeyError `key_mismatch` if it cannot be unwrapped; other failures of the wrapping */
  unwrap(wrapped: unknown): Promise<Buffer>;
}

const format = 'sidekey-wrapped-key/1';
const maxBytes = 16_384;

/** Opens a source that keeps the master key wrapped in the file at `path` (0600). */
export function openWrappedKey(path: string, wrapping: KeyWrapping, newKey: () => KeyObject): OpenKeySource {
  async function textOf(key: KeyObject): Promise<string> {
    const bytes = key.export();
    try {
      const wrapped = { format, ...(await wrapping.wrap(bytes)) };
      return `${JSON.stringify(wrapped, null, 2)}\n`;
    } finally {
      bytes.fill(0);
    }
  }
  async function read(): Promise<KeyObject | null> {
    const text = await readPrivateFile(path);
    if (text === null) return null;
    const parsed = parse(text);
    if (parsed?.['format'] !== format) throw unusable(path, 'does not hold a wrapped master key');
    const bytes = await wrapping.unwrap(parsed);
    try {
      return masterKey(bytes);
    } finally {
      bytes.fill(0);
    }
  }
  return {
    read,
    async create() {
      const key = newKey();
      if (await written(path, async () => createFile(path, await textOf(key), 0o600))) return key;
      return (await read()) ?? key;
    },
    replace: (key) => written(path, async () => replaceFile(path, await textOf(key), 0o600)),
    place: `The file ${path} of the master key, with ${wrapping.needs},`,
  };
}

/** Writes a key file. @throws SidekeyError `file_unwritable` */
export async function written<T>(path: string, write: () => Promise<T>): Promise<T> {
  try {
    return await write();
  } catch (cause) {
    if (cause instanceof SidekeyError) throw cause;
    throw new SidekeyError('file_unwritable', `The key file ${path} cannot be written.`, { cause });
  }
}

/** Reads a key file that only its user can read; null: there is none. @throws SidekeyError `key_invalid`, `permissions_unsafe` */
export async function readPrivateFile(path: string): Promise<string | null> {
  try {
    await using file = await open(path, 'r');
    const { mode, size } = await file.stat();
    if (!isPrivate(mode)) {
      throw new SidekeyError('permissions_unsafe', `The key file ${path} can be used by other users.`, {
        hint: `chmod 600 ${shellWord(path)}`,
      });
    }
    await checkFolders(path);
    if (size > maxBytes) throw unusable(path, 'is too long for a wrapped key');
    return await file.readFile('utf8');
  } catch (error) {
    if (error instanceof SidekeyError) throw error;
    if (isSystemError(error, 'ENOENT')) return null;
    throw unusable(path, 'cannot be read', error);
  }
}

function parse(text: string): Readonly<Record<string, unknown>> | null {
  try {
    return JSON.parse(text) as Readonly<Record<string, unknown>> | null;
  } catch {
    return null;
  }
}

function unusable(path: string, what: string, cause?: unknown): SidekeyError {
  return new SidekeyError('key_invalid', `The key file ${path} ${what}.`, {
    hint: `Restore the key file from your backup: ${path}`,
    cause,
  });
}

/** Returns the passphrase. `isNew`: for a new key, so that a person may choose another one, and types it twice. */
export type ReadPassphrase = (isNew: boolean) => Promise<string>;

/** RFC 9106 §4, the second recommended option: 64 MiB, 3 passes, 4 lanes. Takes about 0.1 s. */
const parameters = { memory: 65_536, passes: 3, parallelism: 4 } as const;

/** Bounds of a file that was changed: it must not take the memory of the machine, nor make guesses cheap. */
const passphraseShape = z.looseObject({
  kdf: z.literal('argon2id'),
  memory: z.int().min(parameters.memory).max(1_048_576),
  passes: z.int().min(parameters.passes).max(16),
  parallelism: z.int().min(1).max(16),
  salt: z.base64(),
  sealed: z.base64(),
});

const context = 'master-key';

/** Wraps with a key that Argon2id derives from a passphrase. */
export function passphraseWrapping(read: ReadPassphrase): KeyWrapping {
  return {
    needs: 'its passphrase',
    async wrap(key) {
      const salt = randomBytes(16);
      const wrapKey = await stretch(await read(true), { ...parameters, salt });
      const sealed = Buffer.from(sealEnvelope(wrapKey, context, key)).toString('base64');
      return { kdf: 'argon2id', ...parameters, salt: salt.toString('base64'), sealed };
    },
    async unwrap(wrapped) {
      const { success, data } = passphraseShape.safeParse(wrapped);
      if (!success) {
        throw new SidekeyError(
          'key_invalid',
          'The file of the master key was changed, or is not of a passphrase.',
        );
      }
      const wrapKey = await stretch(await read(false), { ...data, salt: Buffer.from(data.salt, 'base64') });
      try {
        return openEnvelope(wrapKey, context, Buffer.from(data.sealed, 'base64'));
      } catch (cause) {
        throw new SidekeyError('key_mismatch', 'The passphrase of the master key is wrong.', {
          hint: 'give the passphrase that the key was made with, or that the last "sidekey key rotate" set',
          cause,
        });
      }
    },
  };
}

async function stretch(
  passphrase: string,
  {
    memory,
    passes,
    parallelism,
    salt,
  }: { memory: number; passes: number; parallelism: number; salt: Buffer },
): Promise<WrapKey> {
  // One text has one form of bytes on each keyboard.
  const message = Buffer.from(passphrase.normalize('NFC'));
  const bytes = await promisify(argon2)('argon2id', {
    message,
    nonce: salt,
    memory,
    passes,
    parallelism,
    tagLength: keyLength,
  });
  message.fill(0);
  try {
    const key = masterKey(bytes);
    return { key, id: keyIdOf(key) };
  } finally {
    bytes.fill(0);
  }
}

/** Sends a JSON body to a path below `/v1/` of the transit service, and returns the JSON of the answer. */
export type CallTransit = (path: string, body: object) => Promise<unknown>;

const cipherShape = z.object({ data: z.object({ ciphertext: z.string().regex(/^[\w.-]+:v\d+:/) }) });
const plainShape = z.object({ data: z.object({ plaintext: z.base64() }) });

/** Wraps with a key of the transit engine of HashiCorp Vault or OpenBao, which never leaves that service. */
export function transitWrapping(mount: string, name: string, call: CallTransit): KeyWrapping {
  return {
    needs: `the transit key ${mount}/${name}`,
    async wrap(key) {
      const answer = await call(`${mount}/encrypt/${name}`, { plaintext: key.toString('base64') });
      const { success, data } = cipherShape.safeParse(answer);
      if (!success)
        throw new SidekeyError('key_invalid', 'The transit service answered without a ciphertext.');
      return { transit: `${mount}/${name}`, ciphertext: data.data.ciphertext };
    },
    async unwrap(wrapped) {
      const { ciphertext } = z.looseObject({ ciphertext: z.string() }).parse(wrapped);
      const { success, data } = plainShape.safeParse(await call(`${mount}/decrypt/${name}`, { ciphertext }));
      if (!success)
        throw new SidekeyError('key_invalid', 'The transit service answered without a plaintext.');
      return Buffer.from(data.data.plaintext, 'base64');
    },
  };
}
