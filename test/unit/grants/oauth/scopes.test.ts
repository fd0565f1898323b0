import { describe, expect, test } from 'vitest';
import { plainDialect } from '../../../../src/config/provider-dialect.ts';
import { joinScopes, splitScopes, ungrantedScopes } from '../../../../src/grants/oauth/scopes.ts';

const space = { scopeSeparator: ' ' };
const comma = { scopeSeparator: ',' };

test('scopes are joined with the separator of the provider', () => {
  expect(joinScopes(['a', 'b'], space)).toBe('a b');
  expect(joinScopes(['a', 'b'], comma)).toBe('a,b');
});

test.each([
  ['a b', space, ['a', 'b']],
  ['a,b', space, ['a,b']],
  ['a b\u001b[2J c\u202e', space, ['a']],
  ['a,b', comma, ['a', 'b']],
  [' a, b  c ,,a ', comma, ['a', 'b', 'c']],
  ['a+b', { scopeSeparator: '+' }, ['a', 'b']],
  [['a', 'b,c', 7, null], comma, ['a', 'b', 'c']],
  ['', space, null],
  [[], space, null],
  [undefined, space, null],
  [7, space, null],
])('%j with %j is read as %j', (value, dialect, scopes) => {
  expect(splitScopes(value, { ...plainDialect, ...dialect })).toEqual(scopes);
});

describe('requested scopes that were not granted', () => {
  test('are reported', () => {
    expect(ungrantedScopes(['read', 'write', 'admin'], ['write'])).toEqual(['read', 'admin']);
    expect(ungrantedScopes(['read'], [])).toEqual(['read']);
    expect(ungrantedScopes([], ['read'])).toEqual([]);
  });

  test.each([
    ['read', 'READ'],
    ['email', 'https://www.googleapis.com/auth/userinfo.email'],
    ['Mail.Read', 'https://graph.microsoft.com/Mail.Read'],
    ['https://graph.microsoft.com/Mail.Read', 'mail.read'],
    ['user:email', 'user'],
    ['offline_access', 'read'],
  ])('do not include %s, which is granted with %s', (asked, granted) => {
    expect(ungrantedScopes([asked], [granted])).toEqual([]);
  });

  test.each([
    ['user', 'user:email'],
    ['read', 'unread'],
    ['mail', 'https://a.test/voicemail'],
    ['Mail.ReadWrite', 'https://graph.microsoft.com/Mail.Read'],
    ['a.read', 'read'],
  ])('include %s, which is not granted with %s', (asked, granted) => {
    expect(ungrantedScopes([asked], [granted])).toEqual([asked]);
  });
});
