import { describe, expect, it } from 'vitest';
import { matchesText, patternsMeet } from '../../src/proxy/policy/claims.ts';
import * as fc from '../support/fast-check.ts';

/** Few characters, so that patterns and texts meet. */
const part = fc.string({ unit: fc.constantFrom('a', 'b'), maxLength: 3 });
const wildPart = fc.oneof(
  part,
  fc.tuple(part, part).map(([before, after]) => `${before}*${after}`),
);
const joined = (of: fc.Arbitrary<string>) =>
  fc.array(fc.tuple(of, fc.constantFrom('/', ':')), { minLength: 1, maxLength: 3 }).map((parts) =>
    parts
      .map(([text, end]) => text + end)
      .join('')
      .slice(0, -1),
  );
const text = joined(part);
const pattern = joined(wildPart);

/** The definition, as a regular expression. */
const expected = (wanted: string) => new RegExp(`^${wanted.split('*').join('[^/:]+')}$`, 'su');

describe('a claim pattern', () => {
  it('matches the same texts as its regular expression', () => {
    fc.assert(
      fc.property(pattern, text, (wanted, given) => {
        expect(matchesText(wanted, given)).toBe(expected(wanted).test(given));
      }),
      { numRuns: 2_000 },
    );
  });

  it('without a * matches only itself', () => {
    fc.assert(
      fc.property(text, text, (wanted, given) => {
        expect(matchesText(wanted, given)).toBe(wanted === given);
      }),
    );
  });

  it('never matches a text with more separators', () => {
    fc.assert(
      fc.property(pattern, text, fc.constantFrom('/', ':'), text, (wanted, given, separator, more) => {
        expect(matchesText(wanted, given) && matchesText(wanted, `${given}${separator}${more}`)).toBe(false);
      }),
    );
  });

  it('meets another pattern if a text matches both', () => {
    fc.assert(
      fc.property(pattern, pattern, text, (one, other, given) => {
        const both = matchesText(one, given) && matchesText(other, given);
        expect(!both || patternsMeet(one, other)).toBe(true);
        expect(patternsMeet(one, other)).toBe(patternsMeet(other, one));
      }),
      { numRuns: 2_000 },
    );
  });

  it('meets another pattern only if a text matches both', () => {
    fc.assert(
      fc.property(pattern, pattern, (one, other) => {
        fc.pre(patternsMeet(one, other));
        expect(matchesText(one, common(one, other)) && matchesText(other, common(one, other))).toBe(true);
      }),
      { numRuns: 2_000 },
    );
  });
});

const longer = (a: string, b: string) => (a.length > b.length ? a : b);

/**
 * Makes a text that two patterns have in common: the longer beginning, a letter, and the longer end of each
 * part.
 */
function common(one: string, other: string): string {
  const others = other.split(/([/:])/);
  return one
    .split(/([/:])/)
    .map((part, index) => {
      const another = others[index]!;
      if (!part.includes('*')) return part;
      if (!another.includes('*')) return another;
      const [before = '', after = ''] = part.split('*');
      const [otherBefore = '', otherAfter = ''] = another.split('*');
      return `${longer(before, otherBefore)}a${longer(after, otherAfter)}`;
    })
    .join('');
}
