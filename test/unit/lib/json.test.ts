import { expect, test } from 'vitest';
import { readJson } from '../../../src/lib/json.ts';

test('the JSON parser returns the same values as JSON.parse', () => {
  for (const text of ['null', ' true', 'false\n', '0', '-1.5e+3', '"a\\u0041\\n"', '[]', '[1, [2]]']) {
    expect(readJson(text)).toEqual({ ok: true, value: JSON.parse(text) });
  }
  expect(readJson('{"a": {"b": []}, "__proto__": 1}')).toEqual({
    ok: true,
    value: new Map<string, unknown>([
      ['a', new Map([['b', []]])],
      ['__proto__', 1],
    ]),
  });
});

test.each([
  ['', 1, 1],
  ['{', 1, 2],
  ['[1 2]', 1, 4],
  ['[1,]', 1, 4],
  ['01', 1, 2],
  ['"a', 1, 1],
  ['"\\x"', 1, 2],
  ['"\\u12"', 1, 2],
  ['{"a" 1}', 1, 6],
  ['{\n"a": 1,\n"a": 2}', 3, 1],
  ['{"b": {"a\\u0000": 1}}', 1, 8],
  ['{"\\ud800": 1}', 1, 2],
  ['truth', 1, 1],
  ['nul', 1, 1],
  ['\t\n  +1', 2, 3],
  [`${'['.repeat(100)}${']'.repeat(100)}`, 1, 18],
])('the JSON parser reports the position of the error in %j', (text, line, column) => {
  expect(readJson(text)).toEqual({ ok: false, problem: expect.any(String), line, column });
});
