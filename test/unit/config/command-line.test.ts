import { expect, test } from 'vitest';
import { splitCommandLine } from '../../../src/config/locate.ts';

test.each<[string, string[]]>([
  ['pass show acme', ['pass', 'show', 'acme']],
  ['  pass\tshow   acme ', ['pass', 'show', 'acme']],
  [`sh -c 'echo "$A" | head -1'`, ['sh', '-c', 'echo "$A" | head -1']],
  [`a"b c"'d e'f`, ['ab cd ef']],
  [`a ''  ""`, ['a', '', '']],
  [String.raw`a\ b \"c \|`, ['a b', '"c', '|']],
  [String.raw`"a\"b\\c\d"`, [String.raw`a"b\c\d`]],
  [`"a;b|c>d"`, ['a;b|c>d']],
])('%j is split into %j', (text, words) => {
  expect(splitCommandLine(text)).toEqual(words);
});

test.each([
  ['', /names no command/],
  ['   ', /names no command/],
  [`pass 'acme`, /quote/],
  [`pass "acme`, /quote/],
  ['pass acme\\', /backslash/],
  ['pass acme | head', /shell/],
  ['pass acme; true', /shell/],
  ['pass acme > file', /shell/],
  ['pass $ACME', /shell/],
  ['pass "$ACME"', /shell/],
  ['pass `acme`', /shell/],
  ['pass "`acme`"', /shell/],
])('%j is refused', (text, problem) => {
  expect(splitCommandLine(text)).toHaveProperty('problem', expect.stringMatching(problem));
});
