import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { masterKey } from '../../../../src/store/vault/key-source.ts';
import { createVault, type RingKey } from '../../../../src/store/vault/vault.ts';

const hourMs = 3_600_000;
const first: RingKey = { master: masterKey(randomBytes(32)), since: null, retiredAt: null };
const second: RingKey = { master: masterKey(randomBytes(32)), since: 0, retiredAt: null };
const old = createVault([first]);
const token = Buffer.from('token');

describe('a vault with an earlier key', () => {
  it('opens what the earlier key sealed, and seals with the current key', () => {
    const both = createVault([second, first]);
    expect(both.open('a', old.seal('a', token))).toEqual(token);
    expect(() => old.open('a', both.seal('a', token))).toThrow(
      expect.objectContaining({ code: 'key_mismatch' }),
    );
  });

  it('opens records of a retired key for one more hour', () => {
    let now = 0;
    const both = createVault([second, { ...first, retiredAt: 0 }], { now: () => now });
    const sealed = old.seal('a', token);
    now = hourMs - 1;
    expect(both.open('a', sealed)).toEqual(token);
    now = hourMs;
    expect(() => both.open('a', sealed)).toThrow(expect.objectContaining({ code: 'key_mismatch' }));
    expect(() => both.rewrap('a', sealed)).toThrow(expect.objectContaining({ code: 'key_mismatch' }));
    expect(both.rewrap('a', sealed, hourMs + 1)).not.toBeNull();
  });

  it('changes only the key wrap of a record, and keeps the record bound to its context', () => {
    const both = createVault([second, first]);
    const sealed = old.seal('a', token);
    const rewrapped = both.rewrap('a', sealed) ?? sealed;
    expect(Buffer.from(rewrapped).subarray(72)).toEqual(Buffer.from(sealed).subarray(72));
    expect(createVault([second]).open('a', rewrapped)).toEqual(token);
    expect(() => both.open('b', rewrapped)).toThrow(expect.objectContaining({ code: 'record_tampered' }));
    expect(both.rewrap('a', rewrapped)).toBeNull();
  });

  it('keeps the keyed hashes of programs and people, and changes the hashes of the audit log', () => {
    const both = createVault([second, first]);
    for (const purpose of ['placeholder', 'instance', 'approval-link', 'passkey'] as const)
      expect(both.mac(purpose, 'x')).toBe(old.mac(purpose, 'x'));
    expect(both.mac('audit-chain', 'x')).not.toBe(old.mac('audit-chain', 'x'));
  });
});
