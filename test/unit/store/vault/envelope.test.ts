import { createSecretKey, randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { envelopeOverhead, openEnvelope, sealEnvelope } from '../../../../src/store/vault/envelope.ts';

const wrapKey = { key: createSecretKey(randomBytes(32)), id: Buffer.from('0011223344556677', 'hex') };
const context = 'grant/8a7f/1';

describe('a sealed record', () => {
  it('begins with its format, its version and the key id', () => {
    const sealed = Buffer.from(sealEnvelope(wrapKey, context, Buffer.from('token')));
    expect(sealed.subarray(0, 4).toString('latin1')).toBe('SKE\u0002');
    expect(sealed.subarray(4, 12).toString('hex')).toBe('0011223344556677');
    expect(sealed.length).toBe(envelopeOverhead + 5);
    expect(envelopeOverhead).toBe(100);
  });

  it('has a new nonce and a new data key each time', () => {
    const seals = Array.from({ length: 50 }, () =>
      Buffer.from(sealEnvelope(wrapKey, context, Buffer.from('token'))),
    );
    const part = (from: number, to: number): number =>
      new Set(seals.map((sealed) => sealed.subarray(from, to).toString('hex'))).size;
    expect([part(12, 24), part(24, 56), part(72, 84), part(100, 105)]).toEqual([50, 50, 50, 50]);
  });

  it('opens from a part of a longer buffer', () => {
    const sealed = sealEnvelope(wrapKey, context, Buffer.from('token'));
    const longer = Buffer.concat([Buffer.alloc(7), sealed, Buffer.alloc(9)]);
    expect(openEnvelope(wrapKey, context, longer.subarray(7, 7 + sealed.length)).toString()).toBe('token');
  });

  it('does not open with the wrapped key or the payload of another record', () => {
    const one = Buffer.from(sealEnvelope(wrapKey, context, Buffer.from('token')));
    const two = Buffer.from(sealEnvelope(wrapKey, context, Buffer.from('other')));
    const mixed = Buffer.concat([one.subarray(0, 72), two.subarray(72)]);
    expect(() => openEnvelope(wrapKey, context, mixed)).toThrow(
      expect.objectContaining({ code: 'record_tampered' }),
    );
  });

  it('names the key ids, and no content, when another key sealed it', () => {
    const sealed = sealEnvelope(wrapKey, context, Buffer.from('hunter2'));
    const other = { key: createSecretKey(randomBytes(32)), id: Buffer.from('8899aabbccddeeff', 'hex') };
    expect(() => openEnvelope(other, context, sealed)).toThrow(
      expect.objectContaining({
        code: 'key_mismatch',
        message:
          'The sealed record "grant/8a7f/1" needs master key 0011223344556677; the key at hand is 8899aabbccddeeff.',
      }),
    );
  });

  it('is refused for a context that is not well-formed Unicode', () => {
    expect(() => sealEnvelope(wrapKey, 'grant/\ud800', Buffer.from('token'))).toThrow(
      expect.objectContaining({ code: 'internal' }),
    );
  });
});
