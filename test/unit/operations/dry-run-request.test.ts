import { expect, test } from 'vitest';
import { parseHeader } from '../../../src/operations/outgoing-request.ts';
import { questionOf } from '../../../src/operations/dry-run-request.ts';

test('a header with 40,000 inner blanks is parsed in less than a second', () => {
  const header = `a: x${' \t'.repeat(20_000)}x`;
  const start = performance.now();
  expect(() => questionOf({ url: 'api.example.com', headers: [header] }, 0)).toThrow('A header is not valid');
  expect(questionOf({ url: 'api.example.com', headers: [header.replaceAll('\t', ' ')] }, 0).url).toBe(
    'https://api.example.com',
  );
  expect(performance.now() - start).toBeLessThan(1_000);
});

test.each([
  ['A:b', ['A', 'b']],
  ['A: \t b c \t', ['A', 'b c']],
  ['A:', ['A', '']],
  ['A: \t ', ['A', '']],
])('%j is parsed as %j', (text, field) => {
  expect(parseHeader(text, 'A: b')).toEqual(field);
});

test.each(['A', '', ':b', 'A b: c', 'A: b\tc', 'A: b\r\nC: d', 'A: b\n'])('%j is refused', (text) => {
  expect(() => parseHeader(text, 'A: b')).toThrow('A header is not valid');
});
