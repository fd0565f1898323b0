import { expect, test } from 'vitest';
import { wantsNonce } from '../../../../src/proxy/schemes/dpop.ts';

test.each([
  ['DPoP error="use_dpop_nonce", error_description="Resource server requires nonce in DPoP proof"'],
  ['dpop ERROR=use_dpop_nonce'],
  ['Bearer, DPoP algs="ES256 PS256", error="use_dpop_nonce"'],
])('a challenge that requires a nonce is recognized: %s', (field) => {
  expect(wantsNonce(['Basic realm="x"', field])).toBe(true);
});

test.each([
  ['DPoP error="invalid_token"'],
  ['DPoP algs="ES256"'],
  ['Bearer error="use_dpop_nonce"'],
  ['Bearer error_description="DPoP error=use_dpop_nonce"'],
  ['DPoP realm="error=\\"use_dpop_nonce\\""'],
  [''],
])('another challenge is not: %s', (field) => {
  expect(wantsNonce([field])).toBe(false);
});

test('only the first eight fields of a challenge are read', () => {
  const field = 'DPoP error="use_dpop_nonce"';
  expect(wantsNonce([...Array<string>(8).fill('Basic'), field])).toBe(false);
});
