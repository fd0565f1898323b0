import { expect, test } from 'vitest';
import { scopesFor } from '../../../../src/grants/consent.ts';
import { readScopes } from '../../../../src/grants/oauth/scopes.ts';

const provider = { scopes: ['openid', 'read'] };

const grant = { scopes: ['read', 'write'], state: 'active', type: 'oauth2' } as const;

test.each([
  [undefined, null, ['openid', 'read']],
  [['a,b  c,,a'], null, ['a', 'b', 'c']],
  [['a'], grant, ['a', 'read', 'write']],
  [undefined, grant, ['openid', 'read', 'write']],
  [['a'], { ...grant, state: 'reauth_required' as const }, ['a', 'read', 'write']],
  [['a'], { ...grant, state: 'revoked' as const }, ['a']],
  [['a'], { ...grant, type: 'api_key' as const }, ['a']],
  [['https://www.example.com/auth/x', 'user:email'], null, ['https://www.example.com/auth/x', 'user:email']],
])('scopes of the option %j with the grant %j', (written, existing, expected) => {
  expect(scopesFor(written && readScopes(written), provider, existing)).toEqual(expected);
});

test.each(['', ' ,', 'a"b', 'a\\b', 'ä'])('%j is refused', (written) => {
  expect(() => readScopes([written])).toThrow('--scope contains an invalid scope.');
});
