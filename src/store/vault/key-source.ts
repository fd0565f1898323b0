import { createSecretKey, hkdfSync, type KeyObject, randomBytes } from 'node:crypto';
import { SidekeyError } from '../../lib/errors.ts';

export interface OpenKeySource {
  /** Returns the key; null if it does not exist yet. */
  readonly read: () => Promise<KeyObject | null>;
  /** Creates and stores a key for a new store; null: a person must. Another process may be first. */
  readonly create: (() => Promise<KeyObject>) | null;
  /**
   * Stores a key in place of the previous one; null: a person must. `passphrase` reads the one that seals the
   * key from now on, if it is not that of the config.
   */
  readonly replace: ((key: KeyObject, passphrase?: () => Promise<string>) => Promise<void>) | null;
  /** Sentence for a person: what must be done with the new or the lost key. */
  readonly place: string;
}

/**
 * Takes the master key from an environment variable: 32 bytes as base64, base64url or hex. Deletes the
 * variable from `env`, so that processes started later do not inherit the key.
 * @throws SidekeyError `secret_missing` if it is not set; `key_invalid` if it is no such key
 */
export function readKeyVariable(name: string, env: Record<string, string | undefined>): KeyObject {
  const text = env[name]?.trim();
  delete env[name];
  if (text === undefined || text === '') {
    throw new SidekeyError(
      'secret_missing',
      `The environment variable ${name} with the master key is not set.`,
      { hint: `Make a key once with "openssl rand -base64 32", keep it, and set ${name} to it.` },
    );
  }
  return parseKey(text, `The environment variable ${name}`);
}

/**
 * Parses the text of a key: 32 bytes as base64, base64url or hex.
 * @throws SidekeyError `key_invalid`, which names the source `where`
 */
export function parseKey(text: string, where: string): KeyObject {
  const bytes = decodeKey(text.trim());
  if (bytes === null) {
    throw new SidekeyError(
      'key_invalid',
      `${where} gives no master key: ${keyLength} bytes as base64 or hex.`,
      { hint: 'make a key once with "openssl rand -base64 32", and keep it there' },
    );
  }
  return takeKey(bytes);
}

/** Decodes a key. 64 characters can only be hex and 43 only base64, so no text has two readings. */
function decodeKey(text: string): Buffer | null {
  if (/^[0-9a-f]{64}$/i.test(text)) return Buffer.from(text, 'hex');
  if (!/^[A-Za-z0-9+/_-]{43}=?$/.test(text)) return null;
  return Buffer.from(text, 'base64');
}

/** Length of the master key, of every data key and of every derived key, in bytes (AES-256). */
export const keyLength = 32;

/** Length of a key id, in bytes. */
export const keyIdLength = 8;

/**
 * Puts the master key into a `KeyObject`, which keeps the bytes outside the JavaScript heap and never prints
 * them. The caller wipes the passed bytes.
 * @throws SidekeyError `key_invalid` unless there are exactly 32 bytes, or if all are zero (a wiped or empty
 * buffer)
 */
export function masterKey(bytes: Uint8Array): KeyObject {
  if (bytes.length !== keyLength) {
    throw new SidekeyError(
      'key_invalid',
      `A master key has ${keyLength} bytes; this one has ${bytes.length}.`,
      { hint: 'check that "key" of the config names the whole key of this store, as base64 or hex' },
    );
  }
  if (bytes.every((byte) => byte === 0))
    throw new SidekeyError('key_invalid', 'The master key is all zeros.');
  return createSecretKey(bytes);
}

/** Does the same as `masterKey`, and wipes the bytes. */
export function takeKey(bytes: Uint8Array): KeyObject {
  try {
    return masterKey(bytes);
  } finally {
    bytes.fill(0);
  }
}

export function newMasterKey(): KeyObject {
  return takeKey(randomBytes(keyLength));
}

/** Passes the bytes of a key to `use`, and wipes them. */
export function withBytes<T>(key: KeyObject, use: (bytes: Buffer) => T): T {
  const bytes = key.export();
  try {
    return use(bytes);
  } finally {
    bytes.fill(0);
  }
}

/**
 * Derives a key for one purpose (HKDF-SHA256, RFC 5869, without a salt: the master key is uniformly random).
 * The label separates the purposes, so that no two uses share a key.
 */
export function derivedKey(master: KeyObject, purpose: string): KeyObject {
  const bytes = new Uint8Array(hkdfSync('sha256', master, '', `sidekey/v1/${purpose}`, keyLength));
  const key = createSecretKey(bytes);
  bytes.fill(0);
  return key;
}

/** Returns the id of a master key: 8 bytes of a separate derivation, which reveal nothing. */
export function keyIdOf(master: KeyObject): Uint8Array {
  return new Uint8Array(hkdfSync('sha256', master, '', 'sidekey/v1/key-id', keyIdLength));
}

/** Returns the id of a master key in hex. */
export function keyIdText(master: KeyObject): string {
  return Buffer.from(keyIdOf(master)).toString('hex');
}
