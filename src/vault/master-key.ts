import { createSecretKey, hkdfSync, type KeyObject } from 'node:crypto';
import { SidekeyError } from '../errors.ts';

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
    throw new SidekeyError('key_invalid', 'The master key is all zeros, which is no key.');
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

/** What tells master keys apart: 8 bytes of a derivation that serves nothing else, so it gives nothing away. */
export function keyIdOf(master: KeyObject): Uint8Array {
  return new Uint8Array(hkdfSync('sha256', master, '', 'sidekey/v1/key-id', keyIdLength));
}
