import { describe, expect, test } from 'vitest';
import { plainDialect } from '../../../src/config/provider-dialect.ts';
import type { Credential } from '../../../src/domain/credential.ts';
import type { Dialect } from '../../../src/domain/provider.ts';
import {
  comingRefresh,
  refreshTimesOf,
  refreshTokenEndsOf,
  type RefreshTimes,
} from '../../../src/grants/refresh-times.ts';
import { hour, oauth2, start } from './processes.ts';

const minute = 60_000;
const day = 24 * hour;
const sealed = (credential: Credential) => ({ credential, audience: ['api.acme.test'] });
const dialect = (fields: Partial<Dialect>): Dialect => ({ ...plainDialect, ...fields });
const timesOf = (credential: Credential, fields: Partial<Dialect> = {}): RefreshTimes =>
  refreshTimesOf(sealed(credential), { skewMs: 5 * minute, dialect: dialect(fields) });

describe('the time of a scheduled refresh', () => {
  test('is in the first half of the interval in which the token is due', () => {
    expect(timesOf(oauth2()).ahead).toEqual({ from: start + 55 * minute, to: start + 57.5 * minute });
  });

  test('has a margin that is bounded by the lifetime of the token', () => {
    const { ahead } = timesOf(oauth2({ expiresAt: start + 10 * minute }));
    expect(ahead).toEqual({ from: start + 8 * minute, to: start + 9 * minute });
  });

  test.each([
    ['a token without an expiry', oauth2({ expiresAt: null })],
    ['a token without a renewal', oauth2({ refreshToken: null })],
    ['a token with a lifetime under a minute', oauth2({ expiresAt: start + 59_999 })],
    ['a missing token', oauth2({ accessToken: null, expiresAt: null })],
    ['another type of credential', { type: 'jwt', value: 'a.b.c', expiresAt: start + hour } as const],
  ])('is null for %s', (_what, credential) => {
    expect(timesOf(credential).ahead).toBeNull();
  });
});

describe('the time to use a refresh token that expires without use', () => {
  test('is soon after half of its lifetime, however long the access token lives', () => {
    const idle = { refreshTokenIdleTimeoutMs: 30 * day };
    for (const expiresAt of [start + hour, start + 90 * day, null]) {
      expect(timesOf(oauth2({ expiresAt }), idle).keepAlive).toEqual({
        from: start + 15 * day,
        to: start + 18 * day,
      });
    }
  });

  test('is null without a refresh token, or without a known lifetime', () => {
    expect(timesOf(oauth2({ refreshToken: null }), { refreshTokenIdleTimeoutMs: day }).keepAlive).toBeNull();
    expect(timesOf(oauth2()).keepAlive).toBeNull();
    expect(refreshTimesOf(sealed(oauth2()), { skewMs: 0, dialect: null }).keepAlive).toBeNull();
  });
});

test('a refresh token expires a time after its last use, and a maximum time after the consent', () => {
  const ends = (fields: Partial<Dialect>, credential: Credential = oauth2()) =>
    refreshTokenEndsOf(sealed(credential), { dialect: dialect(fields), consentedAt: start - 10 * day });
  expect(ends({ refreshTokenIdleTimeoutMs: 7 * day, refreshTokenLifetimeMs: 90 * day })).toEqual({
    unusedAt: start + 7 * day,
    consentAt: start + 80 * day,
  });
  expect(ends({})).toEqual({ unusedAt: null, consentAt: null });
  expect(ends({ refreshTokenLifetimeMs: day }, oauth2({ refreshToken: null })).consentAt).toBeNull();
});

describe('the next scheduled event', () => {
  const ahead = { from: start + 55 * minute, to: start + 57 * minute };
  const keepAlive = { from: start + 10 * day, to: start + 11 * day };
  const coming = (times: Partial<RefreshTimes>, usedAt: number | null, now = start) =>
    comingRefresh({ ahead: null, keepAlive: null, ...times }, { usedAt, now, keepFreshMs: day })?.why ?? null;

  test('is a refresh when the grant was used recently', () => {
    expect(coming({ ahead, keepAlive }, start)).toBe('ahead');
    expect(coming({ ahead }, start - 23 * hour)).toBe('ahead');
  });

  test('is null when the grant was not used, or will no longer count as used by then', () => {
    expect(coming({ ahead }, null)).toBeNull();
    expect(coming({ ahead }, start - day)).toBeNull();
    expect(coming({ ahead }, start - day + 30 * minute)).toBeNull();
    expect(coming({ ahead }, start, start + 2 * day)).toBeNull();
  });

  test('is the use that keeps the refresh token, even for an unused grant', () => {
    expect(coming({ ahead, keepAlive }, null)).toBe('keepAlive');
    expect(coming({ keepAlive }, start)).toBe('keepAlive');
    expect(
      coming({ ahead: { from: start + 20 * day, to: start + 21 * day }, keepAlive }, start + 19.5 * day),
    ).toBe('keepAlive');
  });
});
