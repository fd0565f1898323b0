import { expect, test } from 'vitest';
import { unshownText } from '../../../../src/domain/approval.ts';

test.each([
  [null, 0, null],
  ['a=b', 0, 'a query, which is not shown'],
  [null, 1, '1 byte of body, which is not shown'],
  [null, null, 'a body, which is not shown'],
  ['a=b', 5_000, 'a query and 5,000 bytes of body, which are not shown'],
])('the presence of a query (%s) and of a body of %s bytes is stated', (query, bodyBytes, told) => {
  expect(unshownText({ query, bodyBytes })).toBe(told);
});
