import { hash, type KeyObject } from 'node:crypto';

/** Bytes of a block of SHA-256 (FIPS 180-4), and of its digest. */
const blockBytes = 64;
const digestBytes = 32;

/**
 * HMAC-SHA256 (RFC 2104) with one key, in hex, for texts that are no secret: the last one stays in memory. It is made of
 * two hashes in a call each. `createHmac` makes objects that cost several times the hash of a line, and each access is two
 * lines.
 *
 * @param key of at most a block
 */
export function createLineMac(key: KeyObject): (data: string | Uint8Array) => string {
  const bytes = key.export();
  if (bytes.length > blockBytes) throw new RangeError('A longer key would have to be hashed first.');
  let inner: Buffer = Buffer.alloc(4_096, 0x36);
  const outer = Buffer.alloc(blockBytes + digestBytes, 0x5c);
  for (const [at, byte] of bytes.entries()) {
    inner[at]! ^= byte;
    outer[at]! ^= byte;
  }
  bytes.fill(0);

  function room(most: number): Buffer {
    if (inner.length >= blockBytes + most) return inner;
    const wider = Buffer.alloc(blockBytes + 2 * most);
    inner.copy(wider, 0, 0, blockBytes);
    inner.fill(0);
    inner = wider;
    return wider;
  }

  return (data) => {
    let end = blockBytes;
    if (typeof data === 'string') end += room(3 * data.length).write(data, blockBytes);
    else {
      room(data.length).set(data, blockBytes);
      end += data.length;
    }
    outer.write(hash('sha256', inner.subarray(0, end), 'hex'), blockBytes, 'hex');
    return hash('sha256', outer, 'hex');
  };
}
