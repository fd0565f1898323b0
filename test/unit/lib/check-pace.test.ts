import { expect, test } from 'vitest';
import { createCheckPace } from '../../../src/lib/timers.ts';

/** The times, of those given in milliseconds, at which a check is due. */
function checksAt(times: readonly number[]): readonly number[] {
  let now = 0;
  const isDue = createCheckPace(() => now);
  return times.filter((time) => {
    now = time;
    return isDue();
  });
}

test('the first call is a check', () => {
  expect(checksAt([0])).toEqual([0]);
});

test('calls less than 3 ms apart check every 5 ms', () => {
  const times = Array.from({ length: 41 }, (_, index) => index * 0.5);
  expect(checksAt(times)).toEqual([0, 5, 10, 15, 20]);
});

test('the first call after a pause of 3 ms is a check', () => {
  expect(checksAt([0, 0.5, 3.5, 4, 4.5])).toEqual([0, 3.5]);
});
