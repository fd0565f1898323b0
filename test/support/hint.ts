import { type Hint, hintText } from '../../src/lib/hint.ts';

/** Matches a hint by its text, or by a part of it. */
export function hintOfText(expected: string | RegExp): object {
  return {
    asymmetricMatch: (hint: Hint) =>
      typeof expected === 'string' ? hintText(hint) === expected : expected.test(hintText(hint)),
    toString: () => `hint ${String(expected)}`,
  };
}
