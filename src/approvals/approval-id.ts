/**
 * Names of questions: short enough to be typed, and without letters that look alike (the alphabet of Crockford's
 * base 32: no i, l, o, u). They are names and no secrets: whoever may use the store may answer.
 */
import { randomBytes } from 'node:crypto';

const alphabet = '0123456789abcdefghjkmnpqrstvwxyz';

/**
 * Eight characters, 40 bits: of the questions of a day no two have the same.
 * @param random so many random bytes
 */
export function newApprovalId(random: (size: number) => Uint8Array = randomBytes): string {
  let bits = 0n;
  for (const byte of random(5)) bits = (bits << 8n) | BigInt(byte);
  let id = '';
  for (let shift = 35n; shift >= 0n; shift -= 5n) id += alphabet[Number((bits >> shift) & 31n)];
  return id;
}

/** An id as a person types it: in capitals, or with the letters that look like 0 and 1. Null: it is none. */
export function readApprovalId(text: string): string | null {
  const folded = text.toLowerCase().replaceAll('o', '0').replace(/[il]/g, '1');
  return /^[0-9a-hjkmnp-tv-z]{8}$/.test(folded) ? folded : null;
}
