import { describe, expect, it } from 'vitest';
import { fromGrantRow, toGrantRow } from '../../../src/store/grants.ts';
import { grantRecord } from '../../support/grant-record.ts';

describe('a row of the grants table', () => {
  it('reads back as the same grant', () => {
    for (const record of [
      grantRecord(),
      grantRecord({ scopes: [], expiresAt: null, refreshable: false, stateReason: 'x', state: 'revoked' }),
    ]) {
      expect(fromGrantRow(toGrantRow(record))).toEqual(record);
    }
  });

  it('contains only text, numbers and bytes, which every database supports', () => {
    const values = Object.values(toGrantRow(grantRecord({ expiresAt: null })));
    for (const value of values) {
      expect(
        value === null || ['string', 'number'].includes(typeof value) || value instanceof Uint8Array,
      ).toBe(true);
    }
  });

  it('with a value that Sidekey never writes is refused', () => {
    const row = toGrantRow(grantRecord());
    for (const wrong of [
      { state: 'usable' },
      { state: '' },
      { type: 'oauth' },
      { scopes: 'repo' },
      { scopes: '{}' },
      { scopes: '[1]' },
      { scopes: '' },
    ]) {
      expect(() => fromGrantRow({ ...row, ...wrong })).toThrow(
        expect.objectContaining({
          code: 'store_damaged',
          message: expect.stringContaining(Object.keys(wrong)[0] ?? ''),
        }),
      );
    }
  });
});
