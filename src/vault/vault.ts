import { createCipheriv, createDecipheriv, createHmac, hash, type KeyObject, randomBytes } from 'node:crypto';
import { SidekeyError } from '../lib/errors.ts';
import { viewsOf } from '../lib/views.ts';
import {
  createKeyFile,
  derivedKey,
  keyIdLength,
  keyIdOf,
  keyLength,
  readKeyFile,
  readKeyVariable,
} from './key-source.ts';

/**
 * Seals, opens and hashes. No other module sees key bytes.
 */
export interface Vault {
  /** First 8 bytes, in hex, of a hash of the master key: tells keys apart and gives nothing away. */
  readonly keyId: string;

  /**
   * Seals with a fresh data key (AES-256-GCM), itself sealed by the master key. The result opens only with the same
   * `context`: a text that names the record and its revision, such as `grant/ID/7`.
   */
  seal(context: string, plaintext: Uint8Array): Uint8Array;

  /**
   * @throws SidekeyError `key_mismatch` where another master key sealed it; `record_tampered` where it was
   * changed, belongs to another record, or is of another revision.
   */
  open(context: string, sealed: Uint8Array): Buffer;

  /** HMAC-SHA256 with a key derived (HKDF, RFC 5869) from the master key for this purpose alone. Default: hex. */
  mac(purpose: MacPurpose, data: string | Uint8Array, encoding?: MacEncoding): string;
}

type MacEncoding = 'hex' | 'base64url';

/** Each purpose has a key of its own. */
export type MacPurpose =
  | 'audit-chain'
  | 'audit-head'
  | 'audit-anchor'
  | 'audit-retention'
  | 'audit-end'
  | 'credential-fingerprint'
  | 'approval-link'
  | 'connect-signature'
  | 'instance'
  | 'passkey'
  | 'placeholder';

const context = 'store/key-check';
const constant = Buffer.from('sidekey key check');

/** Name of the key check among the store's `meta` values. */
export const keyCheckName = 'key_check';

/** A sealed constant, put into a new store: it proves later that a key is the one the store was made with. */
export function sealKeyCheck(vault: Vault): Uint8Array {
  return vault.seal(context, constant);
}

/**
 * Proves the vault's key against the check of the store at `location`.
 * @throws SidekeyError `key_mismatch` where the store was made with another key; `record_tampered` where the check
 * itself was changed.
 */
export function verifyKeyCheck(vault: Vault, check: Uint8Array, location: string): void {
  let opened: Buffer;
  try {
    opened = vault.open(context, check);
  } catch (error) {
    if (!(error instanceof SidekeyError) || error.code !== 'key_mismatch') throw error;
    throw new SidekeyError(
      'key_mismatch',
      `The store at ${location} was sealed with another master key than the one given (${vault.keyId}).`,
      {
        hint: 'Point "key" in the configuration to the master key that this store was made with.',
        cause: error,
      },
    );
  }
  if (!opened.equals(constant)) {
    throw new SidekeyError('record_tampered', `The key check of the store at ${location} was changed.`, {
      hint: 'Restore the store from a backup.',
    });
  }
}

/** The source of the master key. */
type KeySource =
  | { readonly source: 'file'; /** Absolute. */ readonly path: string }
  | { readonly source: 'env'; readonly name: string };

interface OpenVaultOptions {
  /**
   * True if a key file that is missing may be made. Only where nothing was ever sealed: a new key does not open
   * what the lost one sealed.
   */
  readonly mayCreate: boolean;
  /** Location of the store, for the sentence that says what needs the missing key. */
  readonly store: string;
  /** Hears that a key was made. */
  readonly onCreate?: (() => void) | undefined;
}

/**
 * Opens the vault with the key of this source, and makes the key file where it may.
 * @throws SidekeyError `key_invalid`, `permissions_unsafe`, `secret_missing`, `file_unwritable`.
 */
export async function openVault(source: KeySource, options: OpenVaultOptions): Promise<Vault> {
  return createVault(await keyFrom(source, options));
}

async function keyFrom(source: KeySource, options: OpenVaultOptions): Promise<KeyObject> {
  if (source.source === 'env') return readKeyVariable(source.name, process.env);
  const key = await readKeyFile(source.path);
  if (key !== null) return key;
  if (options.mayCreate) {
    const made = await createKeyFile(source.path);
    options.onCreate?.();
    return made;
  }
  throw new SidekeyError(
    'key_invalid',
    `The key file ${source.path} is missing, and the store at ${options.store} needs the key it was sealed with.`,
    { hint: `Restore the key file from your backup: ${source.path}` },
  );
}

/**
 * A vault over a master key (see `masterKey`). It keeps derived keys only, inside closures: inspecting or serializing
 * the vault shows its key id and nothing else.
 */
export function createVault(master: KeyObject): Vault {
  const wrapKey: WrapKey = { key: derivedKey(master, 'wrap'), id: keyIdOf(master) };
  const macs: Readonly<Record<MacPurpose, Mac>> = {
    'audit-chain': createLineMac(derivedKey(master, 'audit-chain')),
    'audit-head': createLineMac(derivedKey(master, 'audit-head')),
    'audit-anchor': macWith(derivedKey(master, 'audit-anchor')),
    'audit-retention': macWith(derivedKey(master, 'audit-retention')),
    'audit-end': macWith(derivedKey(master, 'audit-end')),
    'credential-fingerprint': macWith(derivedKey(master, 'credential-fingerprint')),
    'approval-link': macWith(derivedKey(master, 'approval-link')),
    'connect-signature': macWith(derivedKey(master, 'connect-signature')),
    passkey: macWith(derivedKey(master, 'passkey')),
    instance: macWith(derivedKey(master, 'instance')),
    placeholder: macWith(derivedKey(master, 'placeholder')),
  };
  return Object.freeze({
    keyId: Buffer.from(wrapKey.id).toString('hex'),
    seal: (context: string, plaintext: Uint8Array) => sealEnvelope(wrapKey, context, plaintext),
    open: (context: string, sealed: Uint8Array) => openEnvelope(wrapKey, context, sealed),
    mac: (purpose: MacPurpose, data: string | Uint8Array, encoding: MacEncoding = 'hex') =>
      macs[purpose](data, encoding),
  });
}

type Mac = (data: string | Uint8Array, encoding: MacEncoding) => string;

function macWith(key: KeyObject): Mac {
  return (data, encoding) => createHmac('sha256', key).update(data).digest(encoding);
}

/**
 * Envelope encryption. Each record has a random data key of its own; the data key is wrapped by a key derived from
 * the master key, so that a new master key needs the wraps rewritten and not the records.
 *
 *     offset  length
 *          0       4   "SKE", version 1
 *          4       8   key id of the master key
 *         12      12   nonce of the wrap
 *         24      32   data key, wrapped
 *         56      16   tag of the wrap
 *         72      12   nonce of the payload
 *         84      16   tag of the payload
 *        100       …   payload
 *
 * Both parts are AES-256-GCM (NIST SP 800-38D). Nonces are random: the wrap key may seal 2^32 records before the
 * odds of a repeated nonce reach 2^-32 (§8.3), and a data key seals one payload in its life.
 */

const header = Buffer.from('SKE\u0001', 'latin1');
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

/** The derived key that wraps data keys, and the id of the master key it came from. */
export interface WrapKey {
  readonly key: KeyObject;
  /** 8 bytes. */
  readonly id: Uint8Array;
}

/** Seals `plaintext` so that it opens only with the same wrap key and under the same `context`. */
export function sealEnvelope(wrapKey: WrapKey, context: string, plaintext: Uint8Array): Uint8Array {
  const sealed = Buffer.allocUnsafeSlow(payloadAt + plaintext.length);
  header.copy(sealed);
  sealed.set(wrapKey.id, header.length);
  const dataKey = randomBytes(keyLength);
  try {
    randomBytes(nonceLength).copy(sealed, wrapNonceAt);
    randomBytes(nonceLength).copy(sealed, nonceAt);
    encrypt(sealed, wrapKey.key, associatedData(sealed, 'wrap', context), dataKey, wrap);
    encrypt(sealed, dataKey, associatedData(sealed, 'data', context), plaintext, payload);
    return sealed;
  } finally {
    dataKey.fill(0);
  }
}

/**
 * Opens what `sealEnvelope` made. Any bytes may be given.
 * @throws SidekeyError `key_mismatch` where another master key sealed it; `record_tampered` where it was changed, cut,
 * or belongs to another context.
 */
export function openEnvelope(wrapKey: WrapKey, context: string, sealed: Uint8Array): Buffer {
  const bytes = Buffer.from(sealed.buffer, sealed.byteOffset, sealed.byteLength);
  if (bytes.length < payloadAt || !bytes.subarray(0, header.length).equals(header)) {
    throw tampered(context, 'it is cut short, or of a format that this version of Sidekey does not know');
  }
  const id = bytes.subarray(header.length, wrapNonceAt);
  if (!id.equals(wrapKey.id)) throw mismatch(context, id, wrapKey.id);
  const dataKey = decrypt(bytes, wrapKey.key, associatedData(bytes, 'wrap', context), wrap);
  if (dataKey === null) throw tampered(context, changedOrMoved);
  try {
    const plaintext = decrypt(bytes, dataKey, associatedData(bytes, 'data', context), payload);
    if (plaintext === null) throw tampered(context, changedOrMoved);
    return plaintext;
  } finally {
    dataKey.fill(0);
  }
}

interface Part {
  readonly nonceAt: number;
  readonly tagAt: number;
  readonly textAt: number;
  readonly textEnd: number | undefined;
}

const wrap: Part = { nonceAt: wrapNonceAt, tagAt: wrapTagAt, textAt: wrappedKeyAt, textEnd: wrapTagAt };
const payload: Part = { nonceAt, tagAt, textAt: payloadAt, textEnd: undefined };

/** Version, key id, which part this is, and last the context, so that no two readings give the same bytes. */
function associatedData(sealed: Buffer, part: 'wrap' | 'data', context: string): Buffer {
  // UTF-8 turns every lone surrogate into U+FFFD, which would make different contexts one.
  if (!context.isWellFormed()) {
    throw new SidekeyError('internal', 'The context of a sealed record is not well-formed text.');
  }
  return Buffer.concat([sealed.subarray(0, wrapNonceAt), Buffer.from(`${part}/${context}`, 'utf8')]);
}

function encrypt(sealed: Buffer, key: KeyObject | Buffer, aad: Buffer, text: Uint8Array, part: Part): void {
  const nonce = sealed.subarray(part.nonceAt, part.nonceAt + nonceLength);
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

/** Bytes of a block of SHA-256 (FIPS 180-4), and of its digest. */
const blockBytes = 64;
const digestBytes = 32;

/**
 * HMAC-SHA256 (RFC 2104) with one key, for texts that are no secret: the last one stays in memory. It is made of
 * two hashes in a call each. `createHmac` makes objects that cost several times the hash of a line, and each access is two
 * lines.
 *
 * @param key of at maxBytes a block
 */
export function createLineMac(key: KeyObject): Mac {
  const bytes = key.export();
  if (bytes.length > blockBytes) throw new RangeError('A longer key would have to be hashed first.');
  let inner: Buffer = Buffer.alloc(4_096, 0x36);
  let innerView = viewsOf(inner);
  const outer = Buffer.alloc(blockBytes + digestBytes, 0x5c);
  for (const [at, byte] of bytes.entries()) {
    inner[at]! ^= byte;
    outer[at]! ^= byte;
  }
  bytes.fill(0);

  function reserve(maxBytes: number): Buffer {
    if (inner.length >= blockBytes + maxBytes) return inner;
    const wider = Buffer.alloc(blockBytes + 2 * maxBytes);
    inner.copy(wider, 0, 0, blockBytes);
    inner.fill(0);
    inner = wider;
    innerView = viewsOf(wider);
    return wider;
  }

  return (data, encoding) => {
    let end = blockBytes;
    if (typeof data === 'string') end += reserve(3 * data.length).write(data, blockBytes);
    else {
      reserve(data.length).set(data, blockBytes);
      end += data.length;
    }
    outer.write(hash('sha256', innerView(end), 'latin1'), blockBytes, 'latin1');
    return hash('sha256', outer, encoding);
  };
}
