import { expect, test } from 'vitest';
import { prefersJson } from '../../../src/proxy/discovery.ts';

test.each([
  ['', false],
  ['*/*', false],
  ['application/*', false],
  ['text/plain', false],
  ['application/json', true],
  ['Application/JSON; charset=utf-8', true],
  ['application/json, text/plain, */*', true],
  ['text/plain, application/json;q=0.5', false],
  ['text/plain;q=0.2, application/json;q=0.5', true],
  ['application/json;q=0', false],
  ['application/json;q=2', true],
])('the header "Accept: %s" prefers JSON: %s', (accept, wanted) => {
  expect(prefersJson(accept)).toBe(wanted);
});
