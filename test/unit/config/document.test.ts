import { describe, expect, test } from 'vitest';
import { parseConfigDocument } from '../../../src/config/document.ts';

const noAnchor = 'an alias (*…) has no anchor before it; a text that begins with * needs quotes';

/** Problems as `line:column path message`. */
function problemsOf(text: string): string[] {
  const { problems } = parseConfigDocument(text, 'is empty');
  return problems.map(
    ({ line, column, path, message }) => `${line}:${column} ${JSON.stringify(path)} ${message}`,
  );
}

describe('a walk through a document', () => {
  test.each<[what: string, text: string, problems: readonly string[]]>([
    [
      'an alias of a value, a list, a map or a key',
      'a: [&x 1, *x]\n&k b: *k\nc: &l [1]\nd: *l\ne: &m {}\nf: *m\n',
      [],
    ],
    ['an alias before its anchor', 'a: *x\nb: &x 1\n', [`1:4 [] ${noAnchor}`]],
    ['two aliases without an anchor, on one line', 'a: [*x, *y]\n', [`1:5 [] ${noAnchor}`]],
    ['a key that is twice in a map', 'a: 1\n"a": 2\n', ['2:1 ["a"] is here twice, first on line 1']],
    [
      'a key that is there three times',
      'a: 1\na: 2\na: 3\n',
      ['2:1 ["a"] is here twice, first on line 1', '3:1 ["a"] is here twice, first on line 1'],
    ],
    [
      'a key that is twice in a map of a list',
      'a:\n  - 1\n  - { b: 1, b: 2 }\n',
      ['3:13 ["a",1,"b"] is here twice, first on line 3'],
    ],
    ['a key of two maps', 'a: { c: 1 }\nb: { c: 1 }\n', []],
    [
      '__proto__ below a list',
      'a:\n  - { __proto__: {} }\n',
      ['2:7 ["a",0,"__proto__"] is not a name for anything'],
    ],
    [
      '__proto__ twice',
      '__proto__: 1\n__proto__: 2\n',
      ['1:1 ["__proto__"] is not a name for anything', '2:1 ["__proto__"] is here twice, first on line 1'],
    ],
  ])('finds the problems of %s', (_, text, problems) => {
    expect(problemsOf(text)).toEqual(problems);
  });
});
