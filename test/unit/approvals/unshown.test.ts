import { expect, test } from 'vitest';
import { unshownText } from '../../../src/approvals/unshown.ts';

test.each([
  [false, 0, null],
  [true, 0, 'a query, which is not shown'],
  [false, 1, '1 byte of body, which is not shown'],
  [false, null, 'a body, which is not shown'],
  [true, 5_000, 'a query and 5,000 bytes of body, which are not shown'],
])('a query (%s) and a body of %s bytes are told of', (hasQuery, bodyBytes, told) => {
  expect(unshownText({ hasQuery, bodyBytes })).toBe(told);
});
