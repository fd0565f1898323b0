import { argon2, randomBytes } from 'node:crypto';
import { promisify } from 'node:util';
import { z } from 'zod';
import { SidekeyError } from '../../lib/errors.ts';
import { hintOf, remedy } from '../../lib/hint.ts';
import { openEnvelope, sealEnvelope, type WrapKey } from './envelope.ts';
import type { KeyFormat } from './key-file.ts';
import { keyIdOf, keyLength, takeKey, withBytes } from './key-source.ts';

/** Formats of a key file that opens only with something else: a passphrase, or a key of a transit service. */

const format = z.literal('sidekey-wrapped-key/1');

function textOf(wrapped: object): string {
  return `${JSON.stringify({ format: format.value, ...wrapped }, null, 2)}\n`;
}

/** Returns null for a text of another shape. */
function parse<T>(shape: z.ZodType<T>, text: string): T | null {
  try {
    return shape.parse(JSON.parse(text));
  } catch {
    return null;
  }
}

/** Returns the passphrase. `isNew`: for a new key; a person may choose another one, and types it twice. */
export type ReadPassphrase = (isNew: boolean) => Promise<string>;

/** RFC 9106 §4, the second recommended option: 64 MiB, 3 passes, 4 lanes. Takes about 0.1 s. */
const parameters = { memory: 65_536, passes: 3, parallelism: 4 } as const;

/** Bounds for a changed file, which must neither exhaust the memory of the machine nor make guesses cheap. */
const passphraseShape = z.looseObject({
  format,
  kdf: z.literal('argon2id'),
  memory: z.int().min(parameters.memory).max(1_048_576),
  passes: z.int().min(parameters.passes).max(16),
  parallelism: z.int().min(1).max(16),
  salt: z.base64(),
  sealed: z.base64(),
});

const context = 'master-key';

/** Seals the key with a key that Argon2id derives from a passphrase. */
export function passphraseFormat(read: ReadPassphrase): KeyFormat {
  return {
    place: (path) => `The file ${path} of the master key, with its passphrase,`,
    async encode(key, next = () => read(true)) {
      const salt = randomBytes(16);
      const wrapKey = await stretch(await next(), { ...parameters, salt });
      const sealed = withBytes(key, (bytes) => Buffer.from(sealEnvelope(wrapKey, context, bytes)));
      const facts = { salt: salt.toString('base64'), sealed: sealed.toString('base64') };
      return textOf({ kdf: 'argon2id', ...parameters, ...facts });
    },
    async decode(text) {
      const envelope = parse(passphraseShape, text);
      if (envelope === null) return null;
      const wrapKey = await stretch(await read(false), {
        ...envelope,
        salt: Buffer.from(envelope.salt, 'base64'),
      });
      try {
        return openEnvelope(wrapKey, context, Buffer.from(envelope.sealed, 'base64'));
      } catch (cause) {
        throw new SidekeyError('key_mismatch', 'The passphrase of the master key is wrong.', {
          hint: hintOf`give the passphrase that the key was made with, or that the last "${remedy('key.rotate')}" set`,
          cause,
        });
      }
    },
  };
}

interface Argon2Parameters {
  readonly memory: number;
  readonly passes: number;
  readonly parallelism: number;
  readonly salt: Buffer;
}

async function stretch(passphrase: string, parts: Argon2Parameters): Promise<WrapKey> {
  const { memory, passes, parallelism, salt: nonce } = parts;
  // Normalised, because keyboards produce different bytes for one text.
  const message = Buffer.from(passphrase.normalize('NFC'));
  const options = { message, nonce, memory, passes, parallelism, tagLength: keyLength };
  const key = takeKey(await promisify(argon2)('argon2id', options));
  message.fill(0);
  return { key, id: keyIdOf(key) };
}

/** Sends a JSON body to a path below `/v1/` of the transit service, and returns the JSON of the answer. */
type CallTransit = (path: string, body: object) => Promise<unknown>;

const transitShape = z.looseObject({ format, ciphertext: z.string() });
const cipherShape = z.object({ data: z.object({ ciphertext: z.string().regex(/^[\w.-]+:v\d+:/) }) });
const plainShape = z.object({ data: z.object({ plaintext: z.base64() }) });

/** Seals the key with a transit key of HashiCorp Vault or OpenBao, which never leaves that service. */
export function transitFormat(mount: string, name: string, call: CallTransit): KeyFormat {
  return {
    place: (path) => `The file ${path} of the master key, with the transit key ${mount}/${name},`,
    async encode(key) {
      const plaintext = withBytes(key, (bytes) => bytes.toString('base64'));
      const { success, data } = cipherShape.safeParse(await call(`${mount}/encrypt/${name}`, { plaintext }));
      if (success) return textOf({ transit: `${mount}/${name}`, ciphertext: data.data.ciphertext });
      throw new SidekeyError('key_invalid', 'The transit service answered without a ciphertext.', {
        hint: `check the mount ${mount} and the key ${name} of "key" in the config; nothing was changed`,
      });
    },
    async decode(text) {
      const envelope = parse(transitShape, text);
      if (envelope === null) return null;
      const answer = await call(`${mount}/decrypt/${name}`, { ciphertext: envelope.ciphertext });
      const { success, data } = plainShape.safeParse(answer);
      if (success) return Buffer.from(data.data.plaintext, 'base64');
      throw new SidekeyError('key_invalid', 'The transit service answered without a plaintext.', {
        hint: `check the mount ${mount} and the key ${name} of "key" in the config; nothing was changed`,
      });
    },
  };
}
