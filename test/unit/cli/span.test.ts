import { describe, expect, it } from 'vitest';
import { readEnd, readSpan, spanText } from '../../../src/operations/format.ts';

const now = new Date(2027, 0, 1).getTime();
const invalid = expect.objectContaining({ code: 'input_invalid' });

describe('a duration on the command line', () => {
  it.each([
    ['90s', 90_000],
    ['15m', 900_000],
    ['8h', 28_800_000],
    ['30d', 2_592_000_000],
    ['2w', 1_209_600_000],
  ])('is read: %s', (text, milliseconds) => {
    expect(readSpan('--ttl', text)).toBe(milliseconds);
    expect(readSpan('--ttl', spanText(milliseconds))).toBe(milliseconds);
    expect(readEnd('--expires', text, now)).toBe(now + milliseconds);
  });

  it.each(['', '0s', '05m', '5', 'm', '-5m', '5 m', '5M', '1.5h', '5m5s', '9999999999s', '600w', '1h\n'])(
    'is refused: %j',
    (text) => {
      expect(() => readSpan('--ttl', text)).toThrow(invalid);
      expect(() => readEnd('--expires', text, now)).toThrow(invalid);
    },
  );
});

describe('an end on the command line', () => {
  it('is a date in the future, local without a zone', () => {
    expect(readEnd('--expires', '2027-01-31', now)).toBe(new Date(2027, 0, 31).getTime());
    expect(readEnd('--expires', '2027-01-31T12:00', now)).toBe(new Date(2027, 0, 31, 12).getTime());
    expect(readEnd('--expires', '2027-01-31T12:00+02:00', now)).toBe(Date.UTC(2027, 0, 31, 10));
  });

  it.each(['2027-01-01', '2026-12-31', '2999-01-01', '2027-13-01', 'tomorrow'])('is refused: %j', (text) => {
    expect(() => readEnd('--expires', text, now)).toThrow(invalid);
  });
});
