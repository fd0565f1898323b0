import { describe, expect, it } from 'vitest';
import { columns, details, table } from '../../../src/cli/format.ts';
import { visible } from '../../../src/lib/text.ts';

describe('a table', () => {
  it('has columns as wide as the widest cell, without trailing spaces', () => {
    expect(
      table(
        ['A', 'LONG'],
        [
          ['wider', 'x'],
          ['y', ''],
        ],
      ),
    ).toBe('A      LONG\nwider  x\ny');
  });

  it('accepts rows of different lengths, and no rows', () => {
    expect(columns([['a'], ['bb', 'c']])).toEqual(['a', 'bb  c']);
    expect(columns([])).toEqual([]);
  });

  it('shows names beside values, and leaves out empty values', () => {
    expect(details('title', { a: 'x', missing: null, longer: 'y' })).toBe('title\n  a       x\n  longer  y');
  });

  it('escapes control characters', () => {
    expect(visible('a\u001b[31m\u0007\u009b\u200e\u202e\u2028b\n')).toBe(
      String.raw`a\u001b[31m\u0007\u009b\u200e\u202e\u2028b\u000a`,
    );
    expect(details('t\u001b', { 'n\u001b': 'v\u001b' })).not.toContain('\u001b');
    expect(visible('Zoë 東京 …')).toBe('Zoë 東京 …');
  });
});
