import { expect, test } from 'vitest';
import { newExchangeId } from '../../../src/proxy/record.ts';

test('ids of exchanges are 12 characters, begin with a letter, and differ', () => {
  const ids = Array.from({ length: 1_000 }, newExchangeId);
  for (const id of ids) expect(id).toMatch(/^[A-Za-f][\w-]{11}$/);
  expect(new Set(ids).size).toBe(ids.length);
  // All the bits but the first one vary.
  const bytes = ids.map((id) => Buffer.from(id, 'base64url'));
  const ones = (at: number) => bytes.filter((each) => ((each[at >> 3] ?? 0) >> (7 - (at % 8))) & 1).length;
  for (let at = 1; at < 72; at += 1) expect(Math.abs(ones(at) - 500)).toBeLessThan(150);
});
