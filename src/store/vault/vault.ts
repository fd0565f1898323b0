import { createHmac, hash, type KeyObject } from 'node:crypto';
import { viewsOf } from '../../lib/write-buffer.ts';
import { openEnvelope, rewrapEnvelope, sealedKeyId, sealEnvelope, type WrapKey } from './envelope.ts';
import { derivedKey, keyIdOf } from './key-source.ts';

/** Seals, opens and hashes. No other module sees key bytes. */
export interface Vault {
  /** First 8 bytes, in hex, of a hash of the master key. Distinguishes keys and reveals nothing. */
  readonly keyId: string;

  /** The master keys, current first. A rotation replaces the list (`docs/decisions/0085-key-rotation.md`). */
  readonly generations: readonly Generation[];

  /**
   * Seals with a new data key (AES-256-GCM), which the master key seals. The result opens only with the same
   * `context`: a text that names the record and its revision, such as `grant/ID/7`.
   */
  seal(context: string, plaintext: Uint8Array): Uint8Array;

  /**
   * @throws SidekeyError `key_mismatch` if another master key sealed it; `record_tampered` if it was changed,
   * belongs to another record, or has another revision
   */
  open(context: string, sealed: Uint8Array): Buffer;

  /**
   * Seals the data key of an older record with the current master key; the payload stays. Null: it has the
   * current key. `retiredMs`: milliseconds that a retired key opens the record; default one hour.
   * @throws as `open`
   */
  rewrap(context: string, sealed: Uint8Array, retiredMs?: number): Uint8Array | null;

  /**
   * Takes over a rotation of another process. Called before each `seal`, and between reading a record and its
   * `open`. Rejects with errors of the store.
   */
  refresh(): Promise<void>;

  /**
   * HMAC-SHA256 with a key derived (HKDF, RFC 5869) for this purpose only. Default: hex. Keys of the audit
   * log derive from the current master key, others from the first one: their results must outlive a rotation.
   */
  mac(purpose: MacPurpose, data: string | Uint8Array, encoding?: MacEncoding): string;
}

/** One master key of a store. */
export interface Generation {
  readonly keyId: string;
  /** Start of its use, in milliseconds since the epoch; null: the key came with the store. */
  readonly since: number | null;
  /** Time since which the key cannot open the store; null: its holders still can. */
  readonly retiredAt: number | null;
  /** Computes the same as `Vault.mac`, with keys that derive from this master key. */
  readonly mac: Vault['mac'];
}

/** A master key and its time. */
export interface RingKey extends Pick<Generation, 'since' | 'retiredAt'> {
  readonly master: KeyObject;
}

/** The master keys of a store, current first. */
export type Ring = readonly [RingKey, ...RingKey[]];

type MacEncoding = 'hex' | 'base64url';

/** Purposes of keyed hashes. Each purpose has a separate key. */
const purposes = [
  'audit-chain',
  'audit-head',
  'audit-anchor',
  'audit-retention',
  'audit-end',
  'credential-fingerprint',
  'approval-link',
  'backup',
  'connect-signature',
  'instance',
  'passkey',
  'placeholder',
] as const;
export type MacPurpose = (typeof purposes)[number];

/** Purposes of texts that are no secret, for `createLineMac`. */
const linePurposes: ReadonlySet<MacPurpose> = new Set(['audit-chain', 'audit-head']);

/** Milliseconds for which a retired key opens records: a process may have sealed during the retirement. */
const graceMs = 3_600_000;

interface VaultOptions {
  /** Returns the ring if it has changed, otherwise null. */
  readonly reload?: (() => Promise<Ring | null>) | undefined;
  /** Milliseconds since the epoch. */
  readonly now?: (() => number) | undefined;
}

/**
 * A vault over a master key (see `masterKey`) or a ring of them. It keeps only derived keys, in closures, so
 * that inspecting or serializing the vault shows only its key ids.
 */
export function createVault(
  from: KeyObject | Ring,
  { reload = async () => null, now = Date.now }: VaultOptions = {},
): Vault {
  let keys = keysOf(from);
  let [current] = keys;
  let root = keys.at(-1) ?? current;

  /** Returns the wrap key of a record, or the current one, which then refuses it. */
  function wrapKeyOf(sealed: Uint8Array, retiredMs = graceMs): WrapKey {
    const id = sealedKeyId(sealed);
    const entry = keys.find(({ generation: { keyId, retiredAt } }) => {
      return keyId === id && (retiredAt === null || now() - retiredAt < retiredMs);
    });
    return (entry ?? current).wrapKey;
  }

  return Object.freeze({
    get keyId() {
      return current.generation.keyId;
    },
    get generations() {
      return keys.map(({ generation }) => generation);
    },
    seal: (context: string, plaintext: Uint8Array) => sealEnvelope(current.wrapKey, context, plaintext),
    open: (context: string, sealed: Uint8Array) => openEnvelope(wrapKeyOf(sealed), context, sealed),
    rewrap: (context: string, sealed: Uint8Array, retiredMs?: number) =>
      sealedKeyId(sealed) === current.generation.keyId
        ? null
        : rewrapEnvelope(wrapKeyOf(sealed, retiredMs), current.wrapKey, context, sealed),
    async refresh() {
      const ring = await reload();
      if (ring === null) return;
      keys = keysOf(ring);
      [current] = keys;
      root = keys.at(-1) ?? current;
    },
    mac: (purpose: MacPurpose, data: string | Uint8Array, encoding?: MacEncoding) =>
      (purpose.startsWith('audit-') ? current : root).generation.mac(purpose, data, encoding),
  });
}

interface GenerationKeys {
  readonly wrapKey: WrapKey;
  readonly generation: Generation;
}

function keysOf(from: KeyObject | Ring): readonly [GenerationKeys, ...GenerationKeys[]] {
  const [first, ...earlier]: Ring = 'type' in from ? [{ master: from, since: null, retiredAt: null }] : from;
  return [generationKeys(first), ...earlier.map(generationKeys)];
}

function generationKeys({ master, since, retiredAt }: RingKey): GenerationKeys {
  const id = keyIdOf(master);
  const macs = new Map<MacPurpose, Mac>();
  for (const purpose of purposes)
    macs.set(purpose, (linePurposes.has(purpose) ? createLineMac : macWith)(derivedKey(master, purpose)));
  return {
    wrapKey: { key: derivedKey(master, 'wrap'), id },
    generation: Object.freeze({
      keyId: Buffer.from(id).toString('hex'),
      since,
      retiredAt,
      mac: (purpose: MacPurpose, data: string | Uint8Array, encoding: MacEncoding = 'hex') =>
        macs.get(purpose)!(data, encoding),
    }),
  };
}

type Mac = (data: string | Uint8Array, encoding: MacEncoding) => string;

function macWith(key: KeyObject): Mac {
  return (data, encoding) => createHmac('sha256', key).update(data).digest(encoding);
}

/** Bytes of a block of SHA-256 (FIPS 180-4), and of its digest. */
const blockBytes = 64;
const digestBytes = 32;

/**
 * HMAC-SHA256 (RFC 2104) with one key, for texts that are no secret: the last one stays in memory. Made of
 * two hashes in one call each. `createHmac` makes objects that cost several times the hash of a line, and
 * each access has two lines.
 *
 * @param key at most `blockBytes` long
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
