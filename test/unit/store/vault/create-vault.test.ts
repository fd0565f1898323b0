import { createHmac, hkdfSync, randomBytes } from 'node:crypto';
import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import { masterKey } from '../../../../src/store/vault/key-source.ts';
import { createVault, type MacPurpose } from '../../../../src/store/vault/vault.ts';

const purposes: readonly MacPurpose[] = [
  'audit-chain',
  'audit-head',
  'audit-anchor',
  'audit-retention',
  'credential-fingerprint',
  'approval-link',
];

describe('a vault', () => {
  it('opens records that another vault with the same key sealed', () => {
    const bytes = randomBytes(32);
    const sealed = createVault(masterKey(bytes)).seal('grant/1/1', Buffer.from('token'));
    expect(createVault(masterKey(bytes)).open('grant/1/1', sealed).toString()).toBe('token');
  });

  it('has the key id of its master key', () => {
    const bytes = randomBytes(32);
    const { keyId } = createVault(masterKey(bytes));
    expect(keyId).toMatch(/^[0-9a-f]{16}$/);
    expect(createVault(masterKey(bytes)).keyId).toBe(keyId);
    expect(createVault(masterKey(randomBytes(32))).keyId).not.toBe(keyId);
    expect(bytes.toString('hex')).not.toContain(keyId);
  });

  it('computes keyed hashes with a separate key for each purpose', () => {
    const bytes = randomBytes(32);
    const vault = createVault(masterKey(bytes));
    for (const purpose of purposes) {
      const key = Buffer.from(hkdfSync('sha256', bytes, '', `sidekey/v1/${purpose}`, 32));
      const expected = createHmac('sha256', key).update('line').digest('hex');
      expect(vault.mac(purpose, 'line')).toBe(expected);
      expect(vault.mac(purpose, Buffer.from('line'))).toBe(expected);
    }
    expect(new Set(purposes.map((purpose) => vault.mac(purpose, 'line'))).size).toBe(purposes.length);
  });

  it('prints as its key id only', () => {
    const bytes = randomBytes(32);
    const vault = createVault(masterKey(bytes));
    expect(JSON.parse(JSON.stringify(vault))).toEqual({
      keyId: vault.keyId,
      generations: [{ keyId: vault.keyId, since: null, retiredAt: null }],
    });
    const shown = inspect(vault, { depth: Infinity, showHidden: true, showProxy: true, getters: true });
    expect(shown).toContain(vault.keyId);
    const derived = ['wrap', ...purposes].map((purpose) =>
      Buffer.from(hkdfSync('sha256', bytes, '', `sidekey/v1/${purpose}`, 32)),
    );
    for (const secret of [bytes, ...derived]) {
      for (const form of [secret.toString('hex'), secret.toString('base64'), inspect(secret).slice(8, 40)]) {
        expect(shown).not.toContain(form);
      }
    }
    expect(inspect(masterKey(bytes), { depth: Infinity, showHidden: true })).not.toContain(
      bytes.toString('hex').slice(0, 8),
    );
  });
});

describe('a master key', () => {
  it('has 32 bytes that are not all zero', () => {
    for (const bytes of [randomBytes(31), randomBytes(33), new Uint8Array(0), new Uint8Array(32)]) {
      expect(() => masterKey(bytes)).toThrow(expect.objectContaining({ code: 'key_invalid' }));
    }
  });
});
