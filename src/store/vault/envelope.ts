import { createCipheriv, createDecipheriv, type KeyObject, randomBytes } from 'node:crypto';
import { SidekeyError } from '../../lib/errors.ts';
import { keyIdLength, keyLength } from './key-source.ts';

/**
 * Envelope encryption. Each record has its own random data key, wrapped by a key derived from the master key,
 * so that a new master key rewrites only the wraps. The payload is bound to its context, and the wrap to the
 * key id: a wrap moved to another record opens no payload.
 *
 *     offset  length
 *          0       4   "SKE", version 2
 *          4       8   key id of the master key
 *         12      12   nonce of the wrap
 *         24      32   data key, wrapped
 *         56      16   tag of the wrap
 *         72      12   nonce of the payload
 *         84      16   tag of the payload
 *        100       …   payload
 *
 * Both parts are AES-256-GCM (NIST SP 800-38D). Nonces are random: the wrap key may seal 2^32 records before
 * the odds of a repeated nonce reach 2^-32 (§8.3). A data key seals only one payload.
 */

const header = Buffer.from('SKE\u0002', 'latin1');
const nonceLength = 12;
const tagLength = 16;

const wrapNonceAt = header.length + keyIdLength;
const wrappedKeyAt = wrapNonceAt + nonceLength;
const wrapTagAt = wrappedKeyAt + keyLength;
const nonceAt = wrapTagAt + tagLength;
const tagAt = nonceAt + nonceLength;
const payloadAt = tagAt + tagLength;

/** The bytes that a seal adds to its plaintext. */
export const envelopeOverhead = payloadAt;

/** The derived key that wraps data keys, and the id of its master key. */
export interface WrapKey {
  readonly key: KeyObject;
  /** ID of the key, 8 bytes. */
  readonly id: Uint8Array;
}

/** Seals `plaintext` so that it opens only with the same wrap key and under the same `context`. */
export function sealEnvelope(wrapKey: WrapKey, context: string, plaintext: Uint8Array): Uint8Array {
  const sealed = Buffer.allocUnsafeSlow(payloadAt + plaintext.length);
  header.copy(sealed);
  sealed.set(wrapKey.id, header.length);
  const dataKey = randomBytes(keyLength);
  try {
    encrypt(sealed, wrapKey.key, { aad: associatedData(sealed, 'wrap', context), text: dataKey }, wrap);
    encrypt(sealed, dataKey, { aad: associatedData(sealed, 'data', context), text: plaintext }, payload);
    return sealed;
  } finally {
    dataKey.fill(0);
  }
}

/**
 * Opens a seal of `sealEnvelope`. Accepts any bytes.
 * @throws SidekeyError `key_mismatch` if another master key sealed it; `record_tampered` if it was changed or
 * cut, or has another context
 */
export function openEnvelope(wrapKey: WrapKey, context: string, sealed: Uint8Array): Buffer {
  const bytes = Buffer.from(sealed.buffer, sealed.byteOffset, sealed.byteLength);
  const dataKey = unwrap(wrapKey, context, bytes);
  try {
    const plaintext = decrypt(bytes, dataKey, associatedData(bytes, 'data', context), payload);
    if (plaintext === null) throw tampered(context, changedOrMoved);
    return plaintext;
  } finally {
    dataKey.fill(0);
  }
}

function unwrap(wrapKey: WrapKey, context: string, bytes: Buffer): Buffer {
  if (bytes.length < payloadAt || !bytes.subarray(0, header.length).equals(header))
    throw tampered(context, 'it is cut short, or of a format that this version of Sidekey does not know');
  const id = bytes.subarray(header.length, wrapNonceAt);
  if (!id.equals(wrapKey.id)) throw mismatch(context, id, wrapKey.id);
  const dataKey = decrypt(bytes, wrapKey.key, associatedData(bytes, 'wrap', context), wrap);
  if (dataKey === null) throw tampered(context, changedOrMoved);
  return dataKey;
}

/** Returns the record with its data key wrapped by another key. Throws as `openEnvelope`. */
export function rewrapEnvelope(from: WrapKey, to: WrapKey, context: string, sealed: Uint8Array): Uint8Array {
  const rewrapped = Buffer.from(sealed);
  const dataKey = unwrap(from, context, rewrapped);
  try {
    rewrapped.set(to.id, header.length);
    encrypt(rewrapped, to.key, { aad: associatedData(rewrapped, 'wrap', context), text: dataKey }, wrap);
    return rewrapped;
  } finally {
    dataKey.fill(0);
  }
}

/** Returns the id of the master key that sealed a record, in hex; any text for other bytes. */
export function sealedKeyId(sealed: Uint8Array): string {
  return Buffer.from(sealed.subarray(header.length, wrapNonceAt)).toString('hex');
}

interface Part {
  readonly nonceAt: number;
  readonly tagAt: number;
  readonly textAt: number;
  readonly textEnd: number | undefined;
}

const wrap: Part = { nonceAt: wrapNonceAt, tagAt: wrapTagAt, textAt: wrappedKeyAt, textEnd: wrapTagAt };
const payload: Part = { nonceAt, tagAt, textAt: payloadAt, textEnd: undefined };

/** Returns version, part and finally the binding, so that no two inputs give the same bytes. */
function associatedData(sealed: Buffer, part: 'wrap' | 'data', context: string): Buffer {
  // UTF-8 turns every lone surrogate into U+FFFD, which would make different contexts one.
  if (!context.isWellFormed())
    throw new SidekeyError('internal', 'The context of a sealed record is not well-formed text.');
  return part === 'wrap'
    ? Buffer.concat([sealed.subarray(0, wrapNonceAt), Buffer.from('wrap')])
    : Buffer.concat([sealed.subarray(0, header.length), Buffer.from(`data/${context}`)]);
}

type Message = Readonly<Record<'aad' | 'text', Uint8Array>>;

function encrypt(sealed: Buffer, key: KeyObject | Buffer, { aad, text }: Message, part: Part): void {
  const nonce = randomBytes(nonceLength);
  nonce.copy(sealed, part.nonceAt);
  const cipher = createCipheriv('aes-256-gcm', key, nonce, { authTagLength: tagLength });
  cipher.setAAD(aad);
  cipher.update(text).copy(sealed, part.textAt);
  cipher.final();
  cipher.getAuthTag().copy(sealed, part.tagAt);
}

function decrypt(sealed: Buffer, key: KeyObject | Buffer, aad: Buffer, part: Part): Buffer | null {
  const nonce = sealed.subarray(part.nonceAt, part.nonceAt + nonceLength);
  const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: tagLength });
  decipher.setAAD(aad);
  decipher.setAuthTag(sealed.subarray(part.tagAt, part.tagAt + tagLength));
  const text = decipher.update(sealed.subarray(part.textAt, part.textEnd));
  try {
    decipher.final();
    return text;
  } catch {
    text.fill(0); // Unauthenticated: nobody may use it.
    return null;
  }
}

const changedOrMoved = 'it was changed, or it belongs to another record or revision';

function tampered(context: string, why: string): SidekeyError {
  return new SidekeyError('record_tampered', `The sealed record "${context}" does not open: ${why}.`, {
    hint: 'Restore the store from a backup, or remove what the record belongs to and add it again.',
  });
}

function mismatch(context: string, was: Buffer, is: Uint8Array): SidekeyError {
  const here = Buffer.from(is).toString('hex');
  return new SidekeyError(
    'key_mismatch',
    `The sealed record "${context}" needs master key ${was.toString('hex')}; the key at hand is ${here}.`,
    { hint: 'Point "key" in the configuration to the master key that the store was made with.' },
  );
}
