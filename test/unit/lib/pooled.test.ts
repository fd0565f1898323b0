import { expect, test } from 'vitest';
import { pooled } from '../../../src/lib/pooled.ts';

test('a pool runs at most so many calls at a time, and returns the results in the order of the items', async () => {
  const gates = [1, 2, 3].map(() => Promise.withResolvers<void>());
  const begun: number[] = [];
  const results = pooled([0, 1, 2], 2, async (item) => {
    begun.push(item);
    await gates[item]!.promise;
    return item * 10;
  });
  expect(begun).toEqual([0, 1]);
  gates[1]!.resolve();
  gates[2]!.resolve();
  gates[0]!.resolve();
  expect(await results).toEqual([0, 10, 20]);
});

test('a pool starts no call after a failure, and rejects with the error of the first item', async () => {
  const gate = Promise.withResolvers<void>();
  const begun: number[] = [];
  const results = pooled([0, 1, 2], 2, async (item) => {
    begun.push(item);
    if (item === 0) await gate.promise;
    throw new Error(`item ${item}`);
  });
  const rejected = expect(results).rejects.toThrow('item 0');
  gate.resolve();
  await rejected;
  expect(begun).toEqual([0, 1]);
});
