import { describe, expect, test } from 'vitest';
import { unifiedDiff } from '../../../src/lib/diff.ts';

const lines = (from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, index) => `line ${from + index}`);

/** Applies the hunks to a text, as `patch` does. */
function applied(before: string, diff: string): string {
  const [old, now] = [before.split('\n'), [] as string[]];
  let at = 0;
  for (const line of diff.split('\n').slice(2)) {
    const start = /^@@ -(\d+)/.exec(line)?.[1];
    if (start !== undefined) {
      now.push(...old.slice(at, Number(start) - 1));
      at = Number(start) - 1;
    } else {
      if (!line.startsWith('+')) expect(old[at++], line).toBe(line.slice(1));
      if (!line.startsWith('-')) now.push(line.slice(1));
    }
  }
  return [...now, ...old.slice(at)].join('\n');
}

describe('a unified diff', () => {
  test('is empty for equal texts', () => {
    expect(unifiedDiff('a\n', 'a\n', 'f')).toBe('');
  });

  test('has a hunk for each place, and three lines around it', () => {
    const before = lines(1, 30);
    const after = before.toSpliced(24, 1).toSpliced(4, 1, 'five', 'more');
    const diff = unifiedDiff(before.join('\n'), after.join('\n'), 'f.yaml');
    expect(diff.split('\n')).toEqual([
      '--- f.yaml',
      '+++ f.yaml',
      '@@ -2,7 +2,8 @@',
      ...lines(2, 4).map((line) => ` ${line}`),
      '-line 5',
      '+five',
      '+more',
      ...lines(6, 8).map((line) => ` ${line}`),
      '@@ -22,7 +23,6 @@',
      ...lines(22, 24).map((line) => ` ${line}`),
      '-line 25',
      ...lines(26, 28).map((line) => ` ${line}`),
    ]);
  });

  test.each([
    ['a line between two changes', 'a\nb\nc', 'x\nb\ny'],
    [
      'changes seven lines apart',
      lines(1, 20).join('\n'),
      ['x', ...lines(2, 7), 'y', ...lines(9, 20)].join('\n'),
    ],
    ['an added text', '', 'a\nb\n'],
    ['a removed text', 'a\nb\n', ''],
    ['a moved line', 'a\nb\nc\nd', 'd\na\nb\nc'],
    ['more lines than are compared', lines(1, 1_100).join('\n'), lines(2_000, 3_100).join('\n')],
  ])('of %s gives the second text when it is applied to the first', (_, before, after) => {
    const diff = unifiedDiff(before, after, 'f');
    expect(applied(before, diff)).toBe(after);
  });

  test('keeps a line between two changes', () => {
    expect(unifiedDiff('a\nb\nc', 'x\nb\ny', 'f').split('\n').slice(3)).toEqual([
      '-a',
      '+x',
      ' b',
      '-c',
      '+y',
    ]);
  });
});
