import { createHash, createHmac } from 'node:crypto';
import type { AuditVault } from '../../../src/audit/live-file.ts';

/**
 * A vault with real keyed hashes, made from a word, so that several processes of a test can have the same.
 */
export function vaultForTest(word = 'key'): AuditVault {
  const keyId = createHash('sha256').update(word).digest('hex').slice(0, 16);
  const mac: AuditVault['mac'] = (purpose, data, encoding = 'hex') =>
    createHmac('sha256', `${word}/${purpose}`).update(data).digest(encoding);
  return { keyId, mac, generations: [{ keyId, since: null, retiredAt: null, mac }] };
}
