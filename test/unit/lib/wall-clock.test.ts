import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { followClock, wallClock } from '../../../src/lib/wall-clock.ts';

const at = 1_700_000_000_000;

beforeEach(() => void vi.useFakeTimers({ now: at, toFake: ['Date'] }));
afterEach(() => {
  followClock(at, at, at);
  vi.useRealTimers();
});

test.each([300_000, -300_000, 1_200])(
  'a clock that is wrong by %d ms is corrected by the shared clock',
  (differs) => {
    followClock(at + differs, at - 20, at + 20);
    expect(wallClock()).toBe(at + differs);
    // The system has set its clock meanwhile.
    followClock(at + 3, at, at);
    expect(wallClock()).toBe(at);
  },
);

test('a clock that differs by less than a second is not changed, and a small change of a correction is ignored', () => {
  followClock(at + 900, at, at);
  expect(wallClock()).toBe(at);
  followClock(at + 300_000, at, at);
  followClock(at + 300_080, at, at);
  expect(wallClock()).toBe(at + 300_000);
});

test.each([
  ['took longer than a second', at - 1_001, at],
  ['came before it was asked for: the clock was set', at, at - 5],
])('a time response that %s is ignored', (_why, askedAt, answeredAt) => {
  followClock(at + 300_000, askedAt, answeredAt);
  expect(wallClock()).toBe(at);
});
