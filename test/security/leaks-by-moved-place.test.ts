/**
 * A client's own credential in the path is not written down however the path is written: with segments that
 * servers take out, or encoded more than once.
 */
import { expect, test } from 'vitest';
import type { InjectPlace } from '../../src/domain/provider.ts';
import { createPathRedactor } from '../../src/proxy/schemes/placement.ts';
import { authorityOf } from '../unit/proxy/policy/policy-for-test.ts';

const inject: readonly InjectPlace[] = [
  { hosts: null, paths: null, as: { kind: 'path', prefixes: ['/bot', '/file/bot'] } },
];
const concealed = createPathRedactor({
  names: ['telegram'],
  get: () => ({ audience: ['api.telegram.example'], inject }),
});
const shown = (path: string) => concealed({ authority: authorityOf('other.example'), path }, null);

test.each([
  ['/./botSECRET/getMe', '/./bot'],
  ['/x/../botSECRET/getMe', '/x/../bot'],
  ['/%2e/botSECRET', '/%2e/bot'],
  ['/%252e/botSECRET', '/%252e/bot'],
  ['/%2562otSECRET/getMe', '/bot'],
  ['/%252562otSECRET', '/bot'],
  ['/%u0062otSECRET', '/bot'],
  ['/%ef%bd%82otSECRET', '/bot'],
  ['/x/..%2fbotSECRET', '/x/bot'],
  ['/x%5c..%5cbotSECRET', '/bot'],
  ['/x\\..\\botSECRET', '/bot'],
  ['/;a=b/botSECRET', '/;a=b/bot'],
  ['/.;/BOTSECRET', '/.;/bot'],
  ['/file/./botSECRET/a.jpg', '/file/./bot'],
  ['/file/%2562otSECRET', '/file/bot'],
  ['/botx/../botSECRET', '/bot'],
  [`/%${'25'.repeat(40)}62otSECRET`, '/bot'],
])('%s is shown as %s', async (path, expected) => {
  expect(await shown(path)).toBe(expected);
  expect(await shown(`${path}?q=1`)).not.toContain('SECRET');
});

test.each([
  ['/bot/getMe?x=../bot', '/bot/getMe?x=../bot'],
  ['/v1/bottles', '/v1/bottles'],
  ['/a%20b/caf%C3%A9/x%2Fy', '/a%20b/caf%C3%A9/x%2Fy'],
  ['/a/../b;c/%252e', '/a/../b;c/%252e'],
  ['/@scope%2fname', '/@scope%2fname'],
  ['*', '*'],
])('%s contains no credential place and loses no segment', async (path, expected) => {
  expect(await shown(path)).toBe(expected);
});
