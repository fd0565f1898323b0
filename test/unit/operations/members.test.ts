import { expect, test } from 'vitest';
import { z } from 'zod';
import { membersOf, time, timeOrNull } from '../../../src/operations/members.ts';

test('an answer has the values that its shape names, and no other', () => {
  const shape = { name: z.string(), acts_for: z.string().nullable(), uses: z.int() };
  const record = { name: 'ci-bot', actsFor: null, uses: 3, hash: Buffer.from('secret') };
  expect(membersOf(shape, record)).toEqual({ name: 'ci-bot', acts_for: null, uses: 3 });
});

test('a number becomes a time if its member is named as one', () => {
  const values = { createdAt: 0, usedAt: null, at: 1 };
  const shape = { created_at: time, used_at: timeOrNull, at: z.int() };
  expect(membersOf(shape, values)).toEqual({ created_at: '1970-01-01T00:00:00.000Z', used_at: null, at: 1 });
});
