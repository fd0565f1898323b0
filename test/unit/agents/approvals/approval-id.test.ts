import { describe, expect, it } from 'vitest';
import { newApprovalId, readApprovalId } from '../../../../src/domain/approval.ts';

describe('an approval id', () => {
  it('is eight random characters without similar letters', () => {
    expect(newApprovalId(() => Uint8Array.of(0, 0, 0, 0, 0))).toBe('00000000');
    expect(newApprovalId(() => Uint8Array.of(255, 255, 255, 255, 255))).toBe('zzzzzzzz');
    expect(newApprovalId(() => Uint8Array.of(0x00, 0x44, 0x32, 0x14, 0xc7))).toBe('01234567');
    const ids = Array.from({ length: 1_000 }, () => newApprovalId());
    expect(new Set(ids).size).toBe(1_000);
    expect(ids.join('')).toMatch(/^[0-9a-hjkmnp-tv-z]{8000}$/);
  });

  it('is read in upper case and with similar letters', () => {
    for (const id of Array.from({ length: 100 }, () => newApprovalId())) expect(readApprovalId(id)).toBe(id);
    expect(readApprovalId('O1Il0oAZ')).toBe('011100az');
  });

  it.each([
    '',
    '1234567',
    '123456789',
    '1234567u',
    '1234 678',
    '12345\u01306',
    '１２３４５６７８',
    '-1234567',
  ])('is not %j', (text) => expect(readApprovalId(text)).toBeNull());
});
