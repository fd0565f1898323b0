import { describe, expect, test } from 'vitest';
import { didYouMean, editDistance } from '../../../src/lib/text.ts';
import { displayName, formatPath } from '../../../src/config/problem.ts';

test.each([
  [['proxy', 'listen'], 'proxy.listen'],
  [['upstream', 'ca', 0], 'upstream.ca[0]'],
  [['domains', 'api.github.com', 'grant'], 'domains["api.github.com"].grant'],
  [['domains', 'a"b'], 'domains["a\\"b"]'],
])('the path %j is written as %s', (path, text) => {
  expect(formatPath(path)).toBe(text);
});

describe('a misspelt name', () => {
  const known = ['listen', 'agents', 'unmatched', 'ca'];

  test.each([
    ['lisen', 'listen'],
    ['lsiten', 'listen'],
    ['Listen', 'listen'],
    ['agent', 'agents'],
    ['unmachted', 'unmatched'],
    ['cas', 'ca'],
  ])('%s has the suggestion %s', (text, name) => {
    expect(didYouMean(text, known)).toBe(name);
  });

  test.each(['rules', 'x', 'admin', 'listen-on-all-interfaces'])('%s has no suggestion', (text) => {
    expect(didYouMean(text, known)).toBeNull();
  });
});

test('the edit distance counts a swap of neighbours as one edit', () => {
  expect(editDistance('abcd', 'abdc')).toBe(1);
  expect(editDistance('', 'abc')).toBe(3);
  expect(editDistance('kitten', 'sitting')).toBe(3);
});

test('a file name is relative to the working folder when the file is below it', () => {
  expect(displayName('/home/a/config/sidekey.yaml', '/home/a')).toBe('config/sidekey.yaml');
  expect(displayName('/etc/sidekey.yaml', '/home/a')).toBe('/etc/sidekey.yaml');
});
