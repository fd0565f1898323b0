import { randomFillSync } from 'node:crypto';

/** Number of bytes of an ID: 12 characters of base64url. */
const idBytes = 9;

/** Random bytes for many IDs. Saves a call of the random generator for each ID. */
const pool = Buffer.alloc(128 * idBytes);
let used = pool.length;

/**
 * Returns an ID for the events of an exchange: 71 random bits in base64url. The first character is a letter,
 * so that an ID is never an option at the command line or a formula in CSV.
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
