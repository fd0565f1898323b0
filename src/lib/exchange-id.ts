import { randomFillSync } from 'node:crypto';

/** Bytes of an id: 12 characters of base64url. */
const idBytes = 9;

/** Random bytes for many ids: drawing them for each one would cost a call of the random generator. */
const pool = Buffer.alloc(128 * idBytes);
let used = pool.length;

/**
 * Returns the id that joins the events of one exchange: 71 random bits in base64url. It begins with a letter, so that it is
 * no option at the command line and no formula in CSV.
 */
export function newExchangeId(): string {
  if (used === pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  const first = pool.readUInt8(used) & 0x7f;
  pool.writeUInt8(first, used);
  const id = pool.toString('base64url', used, used + idBytes);
  used += idBytes;
  return id;
}
