import { describe, expect, it } from 'vitest';
import { untrusted } from '../../../src/lib/text.ts';

describe('text from agents', () => {
  it.each(['ticket 7: löschen, 日本語, 😀, हिन्दी', '/repos/acme/x?%20'])('is unchanged: %s', (text) =>
    expect(untrusted(text)).toBe(text),
  );

  it.each([
    ['a\u001b[2J\u009bb', String.raw`a\u001b[2J\u009bb`],
    ['\u202ea\u200b', String.raw`\u202ea\u200b`],
    ['a\u00a0b\u3000', String.raw`a\u00a0b\u3000`],
    ['a \t  b', String.raw`a \u0009 b`],
    ['e\u0301\u0301\u0301\u0301', String.raw`e\u0301\u0301\u0301\u0301`],
    ['\u{e0100}\u{10ffff}', String.raw`\u{e0100}\u{10ffff}`],
  ])('%j has control and deceptive characters escaped', (text, shown) => expect(untrusted(text)).toBe(shown));
});
