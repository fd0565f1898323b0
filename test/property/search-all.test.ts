import { expect, it } from 'vitest';
import * as fc from '../support/fast-check.ts';
import { createMarks } from '../support/marks.ts';
import { searchAll } from '../support/search-all.ts';

/** Few different bytes, so that patterns overlap and nearly occur. */
const few = (minLength: number, maxLength: number) =>
  fc.array(fc.constantFrom(0, 97, 98, 255), { minLength, maxLength }).map((bytes) => Buffer.from(bytes));

it('the search of a test for its secrets finds the patterns that a search for each one finds', () => {
  let both = 0;
  fc.assert(
    fc.property(
      fc.array(few(3, 9), { minLength: 1, maxLength: 8 }),
      few(0, 60),
      fc.option(fc.nat(60)),
      (patterns, text, at) => {
        const planted = at === null ? [] : [patterns[at % patterns.length]!];
        const bytes = Buffer.concat([text.subarray(0, at ?? 0), ...planted, text.subarray(at ?? 0)]);
        const expected = [...patterns.keys()].filter((index) => bytes.includes(patterns[index]!));
        if (expected.length > 0 && expected.length < patterns.length) both += 1;
        expect([...searchAll(patterns)(bytes)].toSorted((a, b) => a - b)).toEqual(expected);
      },
    ),
    { numRuns: 1_000 },
  );
  expect(both).toBeGreaterThan(200);
});

it('each part of a marked secret is found at the start and the end of some bytes', () => {
  const marks = createMarks();
  const secret = marks.mark('secret');
  expect(secret).toHaveLength(32);
  for (const form of [secret, encodeURIComponent(secret), Buffer.from(secret).toString('hex')]) {
    for (let at = 0; at + 16 * (form.length / 32) <= form.length; at += 1) {
      const part = form.slice(at, at + 16 * (form.length / 32));
      for (const text of [part, `x${part}`, `${part}x`, `${'x'.repeat(at)}${part}`])
        expect(marks.findIn(Buffer.from(text)), text).not.toEqual([]);
    }
  }
  expect(marks.findIn(Buffer.alloc(1_000, secret.slice(0, 7)))).toEqual([]);
});
