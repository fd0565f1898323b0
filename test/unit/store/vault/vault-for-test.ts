import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto';
import { SidekeyError } from '../../../../src/lib/errors.ts';
import type { Vault } from '../../../../src/store/vault/vault.ts';

type SealingVault = Pick<Vault, 'keyId' | 'seal' | 'open' | 'refresh' | 'rewrap'>;

/** A vault with its own master key: AES-256-GCM with the context as associated data, without data keys. */
export function vaultForTest(): SealingVault {
  const key = randomBytes(32);
  const id = createHash('sha256').update(key).digest().subarray(0, 8);
  return {
    keyId: id.toString('hex'),
    refresh: async () => {},
    rewrap: () => null,
    seal(context, plaintext) {
      const iv = randomBytes(12);
      const cipher = createCipheriv('aes-256-gcm', key, iv).setAAD(Buffer.from(context));
      const text = Buffer.concat([cipher.update(plaintext), cipher.final()]);
      return Buffer.concat([id, iv, cipher.getAuthTag(), text]);
    },
    open(context, sealed) {
      const bytes = Buffer.from(sealed);
      if (!bytes.subarray(0, 8).equals(id)) throw new SidekeyError('key_mismatch', 'Another key sealed it.');
      try {
        const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(8, 20));
        decipher.setAAD(Buffer.from(context)).setAuthTag(bytes.subarray(20, 36));
        return Buffer.concat([decipher.update(bytes.subarray(36)), decipher.final()]);
      } catch (cause) {
        throw new SidekeyError('record_tampered', 'It does not open.', { cause });
      }
    },
  };
}
