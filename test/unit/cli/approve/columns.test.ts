import { describe, expect, it } from 'vitest';
import { shorten, wrap } from '../../../../src/cli/approve/format.ts';
import { fitting, widthOf } from '../../../../src/cli/display.ts';

describe('text in columns', () => {
  it('is shortened in its middle, with a mark', () => {
    expect(shorten('x'.repeat(50), 50)).toBe('x'.repeat(50));
    const short = shorten(`begin${'x'.repeat(500)}end`, 60);
    expect(short).toMatch(/^beginx+ …\(508 characters in all\)… x+end$/);
    expect(widthOf(short)).toBe(60);
  });

  it('counts wide characters as two columns', () => {
    expect(widthOf('a漢😀')).toBe(5);
    expect(fitting('a漢😀', 4)).toBe('a漢');
    expect(wrap('a漢😀b', 3)).toEqual(['a漢', '😀b']);
    expect(wrap('漢', 1)).toEqual(['漢']);
    expect(wrap('', 3)).toEqual(['']);
  });
});
