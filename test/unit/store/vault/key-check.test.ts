import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { masterKey } from '../../../../src/store/vault/key-source.ts';
import { sealKeyCheck, verifyKeyCheck } from '../../../../src/store/vault/ring.ts';
import { createVault } from '../../../../src/store/vault/vault.ts';

const vault = createVault(masterKey(randomBytes(32)));

describe('the key check of a store', () => {
  it('passes with the key that sealed it', () => {
    expect(() => verifyKeyCheck(vault, sealKeyCheck(vault), '/data/sidekey.db')).not.toThrow();
  });

  it('names the store when another key is used', () => {
    const other = createVault(masterKey(randomBytes(32)));
    expect(() => verifyKeyCheck(other, sealKeyCheck(vault), '/data/sidekey.db')).toThrow(
      expect.objectContaining({
        code: 'key_mismatch',
        message: `The store at /data/sidekey.db was sealed with another master key than the one given (${other.keyId}).`,
      }),
    );
  });

  it('is refused when it was changed, truncated, or is another sealed record', () => {
    const check = sealKeyCheck(vault);
    const changed = Uint8Array.from(check);
    changed[changed.length - 1] = (changed.at(-1) ?? 0) ^ 1;
    for (const bytes of [
      changed,
      check.subarray(0, 20),
      new Uint8Array(0),
      vault.seal('grant/1/1', Buffer.from('sidekey key check')),
      vault.seal('store/key-check', Buffer.from('something else')),
    ]) {
      expect(() => verifyKeyCheck(vault, bytes, '/data/sidekey.db')).toThrow(
        expect.objectContaining({ code: 'record_tampered' }),
      );
    }
  });
});
