import { expect, test } from 'vitest';
import { clockOf, type Credential } from '../../../src/domain/credential.ts';
import { hour, oauth2, start } from './processes.ts';

const skew = 300_000;

test.each([
  ['at its start', start, 'fresh'],
  ['before the skew', start + hour - skew - 1, 'fresh'],
  ['inside the skew', start + hour - skew, 'due'],
  ['at its last millisecond', start + hour - 1, 'due'],
  ['at its end', start + hour, 'ended'],
  ['long after', start + 9 * hour, 'ended'],
])('the clock of a token with a lifetime of an hour is read %s', (_, now, clock) => {
  expect(clockOf(oauth2(), now, skew)).toBe(clock);
});

test('a short-lived token is due only in the last fifth of its lifetime', () => {
  const short = oauth2({ expiresAt: start + 60_000 });
  expect(clockOf(short, start + 47_999, skew)).toBe('fresh');
  expect(clockOf(short, start + 48_000, skew)).toBe('due');
});

test('a token that cannot be refreshed is never due', () => {
  expect(clockOf(oauth2({ refreshToken: null }), start + hour - 1, skew)).toBe('fresh');
  expect(clockOf(oauth2({ refreshToken: null }), start + hour, skew)).toBe('ended');
});

test('a token without an expiry is fresh, and a missing token is absent', () => {
  expect(clockOf(oauth2({ expiresAt: null }), start + 1e12, skew)).toBe('fresh');
  expect(clockOf(oauth2({ accessToken: null, expiresAt: null }), start, skew)).toBe('absent');
});

test('a token that had expired when it was added is expired', () => {
  expect(clockOf(oauth2({ expiresAt: start - 1 }), start, skew)).toBe('ended');
});

test('other credentials are fresh until they expire', () => {
  const jwt: Credential = { type: 'jwt', value: 'v', expiresAt: start + hour };
  const keys = {
    type: 'aws',
    accessKeyId: 'i',
    secretAccessKey: 's',
    sessionToken: 't',
    region: null,
  } as const;
  for (const credential of [jwt, { ...keys, expiresAt: start + hour }]) {
    expect(clockOf(credential, start + hour - 1, skew)).toBe('fresh');
    expect(clockOf(credential, start + hour, skew)).toBe('ended');
  }
  for (const credential of [
    keys,
    { type: 'jwt', value: 'v', expiresAt: null },
    { type: 'api_key', value: 'v' },
    { type: 'basic', username: 'u', password: 'p' },
    { type: 'headers', headers: [['a', 'b']] },
  ] satisfies Credential[]) {
    expect(clockOf(credential, start + 1e12, skew)).toBe('fresh');
  }
});
