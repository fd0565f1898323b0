import { expect, test } from 'vitest';
import { createReplacement } from '../../../src/app/workers.ts';

test('the first that ends is replaced at once, the next ever later, up to half a minute', () => {
  const { ended } = createReplacement();
  expect(Array.from({ length: 10 }, () => ended(500, true))).toEqual([
    0, 250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000,
  ]);
});

test('the wait is 2 s at most while no other serves', () => {
  const { ended } = createReplacement();
  expect(Array.from({ length: 7 }, () => ended(500, false))).toEqual([
    0, 250, 500, 1_000, 2_000, 2_000, 2_000,
  ]);
});

test('one that served for a while is replaced at once again', () => {
  const { ended } = createReplacement();
  for (let i = 0; i < 5; i += 1) ended(0, true);
  expect([ended(60_000, true), ended(0, true), ended(60_000, true)]).toEqual([0, 250, 0]);
});
