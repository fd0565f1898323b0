import { expect, test } from 'vitest';
import { createReplacement } from '../../../src/app/workers.ts';

test('the first worker that ends is replaced immediately, and later workers after growing delays of at most 30 s', () => {
  const { ended } = createReplacement();
  expect(Array.from({ length: 10 }, () => ended(500, true))).toEqual([
    0, 250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000,
  ]);
});

test('the delay is at most 2 s while no other worker serves', () => {
  const { ended } = createReplacement();
  expect(Array.from({ length: 7 }, () => ended(500, false))).toEqual([
    0, 250, 500, 1_000, 2_000, 2_000, 2_000,
  ]);
});

test('a worker that served for a minute is replaced at once when it ends', () => {
  const { ended } = createReplacement();
  for (let i = 0; i < 5; i += 1) ended(0, true);
  expect([ended(60_000, true), ended(0, true), ended(60_000, true)]).toEqual([0, 250, 0]);
});
