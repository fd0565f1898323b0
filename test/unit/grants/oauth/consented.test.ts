import { expect, test } from 'vitest';
import { consented, type Tokens } from '../../../../src/grants/oauth/answer.ts';

const tokens: Tokens = {
  kind: 'tokens',
  accessToken: 'access',
  refreshToken: 'refresh',
  expiresAt: 2,
  obtainedAt: 1,
  scopes: null,
  scope: null,
  details: { team: 'Softball' },
  issuedTokenType: null,
};

test('the consented scopes are the requested scopes if the provider names none', () => {
  expect(consented(tokens, ['read'])).toMatchObject({ scopes: ['read'], details: { team: 'Softball' } });
  expect(consented({ ...tokens, scopes: ['other'] }, ['read']).scopes).toEqual(['other']);
});

test('a refresh token implies the scope offline_access', () => {
  const listed = { ...tokens, scopes: ['read'] };
  const asked = ['read', 'offline_access'];
  expect(consented(listed, asked).scopes).toEqual(asked);
  expect(consented({ ...listed, refreshToken: null }, asked).scopes).toEqual(['read']);
});

test('the client and the endpoint are taken from the definition', () => {
  expect(consented(tokens, []).credential).toEqual({
    type: 'oauth2',
    accessToken: 'access',
    refreshToken: 'refresh',
    expiresAt: 2,
    obtainedAt: 1,
    scope: null,
    clientId: null,
    clientSecret: null,
    tokenEndpoint: null,
  });
});
