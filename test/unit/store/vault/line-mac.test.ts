import { createHmac, createSecretKey } from 'node:crypto';
import { array, assert, oneof, property, string, uint8Array } from '../../../support/fast-check.ts';
import { expect, test } from 'vitest';
import { createLineMac } from '../../../../src/store/vault/vault.ts';

const anyKey = uint8Array({ minLength: 1, maxLength: 64 });
const anyData = oneof(string({ unit: 'binary', maxLength: 3_000 }), uint8Array({ maxLength: 9_000 }));

test('the line MAC equals HMAC-SHA256, regardless of earlier input', () => {
  assert(
    property(anyKey, array(anyData, { minLength: 1, maxLength: 4 }), (bytes, texts) => {
      const key = createSecretKey(bytes);
      const mac = createLineMac(key);
      for (const text of texts) {
        for (const encoding of ['hex', 'base64url'] as const)
          expect(mac(text, encoding)).toBe(createHmac('sha256', key).update(text).digest(encoding));
      }
    }),
  );
});

test('the line MAC refuses a key longer than a block', () => {
  expect(() => createLineMac(createSecretKey(Buffer.alloc(65, 1)))).toThrow(RangeError);
});
