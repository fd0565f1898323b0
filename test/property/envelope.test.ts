import { createSecretKey, randomBytes } from 'node:crypto';
import * as fc from '../support/fast-check.ts';
import { describe, expect, it } from 'vitest';
import { SidekeyError } from '../../src/lib/errors.ts';
import { type FailureCode } from '../../src/lib/failures.ts';
import { openEnvelope, sealEnvelope, type WrapKey } from '../../src/store/vault/envelope.ts';

const makeKey = (): WrapKey => ({ key: createSecretKey(randomBytes(32)), id: randomBytes(8) });
const wrapKey = makeKey();
const bytes = fc.uint8Array({ maxLength: 300 });
const context = fc.string({ unit: 'grapheme', maxLength: 60 });

describe('an envelope', () => {
  it('opens to the sealed bytes', () => {
    fc.assert(
      fc.property(context, bytes, (name, plaintext) => {
        const opened = openEnvelope(wrapKey, name, sealEnvelope(wrapKey, name, plaintext));
        expect(opened.equals(plaintext)).toBe(true);
      }),
    );
  });

  it('is different each time', () => {
    fc.assert(
      fc.property(context, bytes, (name, plaintext) => {
        const one = sealEnvelope(wrapKey, name, plaintext);
        expect(Buffer.from(one).equals(sealEnvelope(wrapKey, name, plaintext))).toBe(false);
      }),
    );
  });

  it('does not open with any single bit flipped', () => {
    const sealed = sealEnvelope(wrapKey, 'grant/1/1', Buffer.from('a token of some length'));
    for (let bit = 0; bit < sealed.length * 8; bit += 1) {
      const changed = Buffer.from(sealed);
      changed.writeUInt8(changed.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
      const inKeyId = bit >> 3 >= 4 && bit >> 3 < 12;
      expect([bit, refusal('grant/1/1', changed)]).toEqual([
        bit,
        inKeyId ? 'key_mismatch' : 'record_tampered',
      ]);
    }
  });

  it('does not open when truncated or extended', () => {
    const sealed = Buffer.from(sealEnvelope(wrapKey, 'grant/1/1', Buffer.from('a token of some length')));
    for (let length = 0; length < sealed.length; length += 1) {
      expect(refusal('grant/1/1', sealed.subarray(0, length))).toBe('record_tampered');
    }
    expect(refusal('grant/1/1', Buffer.concat([sealed, Buffer.alloc(1)]))).toBe('record_tampered');
  });

  it('does not open under another context', () => {
    fc.assert(
      fc.property(context, context, bytes, (sealedAs, openedAs, plaintext) => {
        fc.pre(sealedAs !== openedAs);
        expect(refusal(openedAs, sealEnvelope(wrapKey, sealedAs, plaintext))).toBe('record_tampered');
      }),
    );
  });

  it('does not open with another key, even if that key has the same id', () => {
    fc.assert(
      fc.property(context, bytes, (name, plaintext) => {
        const sealed = sealEnvelope(wrapKey, name, plaintext);
        expect(refusal(name, sealed, makeKey())).toBe('key_mismatch');
        expect(refusal(name, sealed, { ...makeKey(), id: wrapKey.id })).toBe('record_tampered');
      }),
    );
  });

  it('with any other bytes is refused with an error code, without a crash', () => {
    const start = Buffer.concat([Buffer.from('SKE\u0002', 'latin1'), wrapKey.id]);
    const withStart = bytes.map((rest) => Buffer.concat([start, rest]));
    fc.assert(
      fc.property(fc.oneof(bytes, withStart), (garbage) => {
        expect(['record_tampered', 'key_mismatch']).toContain(refusal('grant/1/1', garbage));
      }),
    );
  });
});

function refusal(name: string, sealed: Uint8Array, key = wrapKey): FailureCode | 'opened' {
  try {
    openEnvelope(key, name, sealed);
    return 'opened';
  } catch (error) {
    if (error instanceof SidekeyError) return error.code;
    throw error;
  }
}
