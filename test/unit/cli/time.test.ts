import { describe, expect, it } from 'vitest';
import { dateTime, duration, isoTime, readTime, relativeTime } from '../../../src/operations/format.ts';

const now = Date.UTC(2026, 10, 21, 6, 0, 0);

describe('a time as text', () => {
  it.each([
    [0, 'in 0 s'],
    [89_000, 'in 89 s'],
    [90_000, 'in 2 min'],
    [3_600_000, 'in 60 min'],
    [5_400_000, 'in 2 h'],
    [172_800_000, 'in 2 d'],
    [700 * 86_400_000, 'in 700 d'],
    [3_650 * 86_400_000, 'in 10 y'],
    [-1_000, '1 s ago'],
    [-7_200_000, '2 h ago'],
  ])('%d ms from now is %s', (offset, text) => {
    expect(relativeTime(now + offset, now)).toBe(text);
  });

  it('is local for people, in UTC for programs', () => {
    const local = new Date(2026, 10, 21, 6, 0, 22, 900).getTime();
    expect(dateTime(local)).toBe('2026-11-21 06:00:22');
    expect(readTime(dateTime(local), now)).toBe(local - 900);
    expect(isoTime(now)).toBe('2026-11-21T06:00:00.000Z');
    expect(isoTime(Number.MAX_VALUE)).toBe('');
  });

  it('has a form for durations', () => {
    expect([duration(0), duration(11.7), duration(999), duration(3_449)]).toEqual([
      '0 ms',
      '12 ms',
      '999 ms',
      '3.4 s',
    ]);
  });
});

describe('a time that a person enters', () => {
  it.each([
    ['30s', now - 30_000],
    ['15m', now - 900_000],
    ['2 h', now - 7_200_000],
    ['7d', now - 604_800_000],
    ['2w', now - 1_209_600_000],
    ['2026-11-20', new Date(2026, 10, 20).getTime()],
    ['2026-11-20T18:30', new Date(2026, 10, 20, 18, 30).getTime()],
    ['2026-11-20 18:30:05', new Date(2026, 10, 20, 18, 30, 5).getTime()],
    ['2026-11-20T18:30Z', Date.UTC(2026, 10, 20, 18, 30)],
    ['2026-11-20T18:30:05.250+02:00', Date.UTC(2026, 10, 20, 16, 30, 5, 250)],
    ['2026-11-20T18:30:05.2501234567890Z', Date.UTC(2026, 10, 20, 18, 30, 5, 250)],
  ])('%s', (text, at) => {
    expect(readTime(text, now)).toBe(at);
  });

  it.each(['', 'yesterday', '2', 'h', '-2h', '2.5h', '2026-13-01', '2026-11-20T25:00Z', '1/2/2026', '2y'])(
    '%j is refused',
    (text) => {
      expect(readTime(text, now)).toBeNull();
    },
  );
});
